package gen

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// filesOf returns the .proto files of a form, by path.
func filesOf(t *testing.T, plain bool) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(Protos(plain), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".proto" {
			return err
		}
		content, err := fs.ReadFile(Protos(plain), name)
		files[name] = string(content)
		return err
	}))
	return files
}

func imports(content string) (imported []string) {
	for _, match := range regexp.MustCompile(`(?m)^import "(.*)";$`).FindAllStringSubmatch(content, -1) {
		imported = append(imported, match[1])
	}
	return imported
}

func TestEveryImportIsThereUnlessCompilersHaveItBuiltIn(t *testing.T) {
	for _, plain := range []bool{false, true} {
		files := filesOf(t, plain)
		for name, content := range files {
			for _, imported := range imports(content) {
				if !strings.HasPrefix(imported, "google/protobuf/") {
					assert.Contains(t, files, imported, "%s imports it", name)
				}
			}
		}
		for _, name := range []string{"google/rpc/status.proto", "google/rpc/error_details.proto"} {
			assert.Contains(t, files, name)
		}
	}
}

func TestPlainFilesHaveNoCustomOptions(t *testing.T) {
	files := filesOf(t, true)
	for name, content := range files {
		assert.NotContains(t, content, "buf.validate", name)
		assert.NotContains(t, content, "google.api", name)
		for _, imported := range imports(content) {
			assert.Regexp(t, "^(google/protobuf|google/rpc|ongair/v1)/", imported, name)
		}
	}
	assert.Len(t, files, 7)
	assert.Contains(t, files["ongair/v1/message.proto"], "// Text of the message: 1 to 65,536 bytes", "comments are the reference")
}

func TestFullFilesAreThoseOfTheRepository(t *testing.T) {
	files := filesOf(t, false)
	own, err := filepath.Glob("../proto/ongair/v1/*.proto")
	require.NoError(t, err)
	require.NotEmpty(t, own)
	for _, file := range own {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(content), files["ongair/v1/"+filepath.Base(file)])
	}
}

// protobufjs, up to 7, does not parse a list of messages in an option.
func TestNoOptionHasAListOfMessages(t *testing.T) {
	for name, content := range filesOf(t, false) {
		assert.NotRegexp(t, `\[\s*\{`, content, name)
	}
}

// contract has the files of the contract.
func contract() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		ongairv1.File_ongair_v1_ongair_service_proto, ongairv1.File_ongair_v1_message_proto, ongairv1.File_ongair_v1_ticket_proto,
		ongairv1.File_ongair_v1_event_proto, ongairv1.File_ongair_v1_error_reason_proto,
	}
}

func TestAFieldHasTheSameNumberInEveryRequestAndInEveryResponse(t *testing.T) {
	methods := ongairv1.File_ongair_v1_ongair_service_proto.Services().Get(0).Methods()
	for kind, message := range map[string]func(protoreflect.MethodDescriptor) protoreflect.MessageDescriptor{
		"requests":  protoreflect.MethodDescriptor.Input,
		"responses": protoreflect.MethodDescriptor.Output,
	} {
		numbers := map[protoreflect.Name]protoreflect.FieldNumber{}
		for i := range methods.Len() {
			fields := message(methods.Get(i)).Fields()
			for j := range fields.Len() {
				field := fields.Get(j)
				if number, ok := numbers[field.Name()]; ok {
					assert.Equal(t, number, field.Number(), "%s: %s", kind, field.FullName())
				}
				numbers[field.Name()] = field.Number()
			}
		}
	}
}

// Java generates getXBytes for every string x, and a class for every file.
func TestNamesDoNotCollideInJava(t *testing.T) {
	for _, file := range contract() {
		outer := file.Options().(*descriptorpb.FileOptions).GetJavaOuterClassname()
		assert.NotEmpty(t, outer, file.Path())
		for _, other := range contract() {
			assert.Nil(t, other.Messages().ByName(protoreflect.Name(outer)), outer)
			assert.Nil(t, other.Enums().ByName(protoreflect.Name(outer)), outer)
			assert.Nil(t, other.Services().ByName(protoreflect.Name(outer)), outer)
		}
		for i := range file.Messages().Len() {
			fields := file.Messages().Get(i).Fields()
			for j := range fields.Len() {
				field := fields.Get(j)
				if field.Kind() == protoreflect.StringKind {
					assert.Nil(t, fields.ByName(field.Name()+"_bytes"), field.FullName())
				}
			}
		}
	}
}

// The numbers are for named consumers and for sends that depend on what the caller has seen.
func TestNumbersAreReservedForWhatIsPlanned(t *testing.T) {
	for _, message := range []protoreflect.MessageDescriptor{
		(&ongairv1.SendRequest{}).ProtoReflect().Descriptor(), (&ongairv1.SendImageRequest{}).ProtoReflect().Descriptor(),
		(&ongairv1.SendDocumentRequest{}).ProtoReflect().Descriptor(), (&ongairv1.CreateTicketRequest{}).ProtoReflect().Descriptor(),
	} {
		for _, number := range []protoreflect.FieldNumber{17, 18} {
			assert.True(t, message.ReservedRanges().Has(number), "%s %d", message.Name(), number)
		}
		assert.True(t, message.ReservedNames().Has("lease") && message.ReservedNames().Has("if_unchanged_since"), message.Name())
	}
	for _, message := range []protoreflect.MessageDescriptor{
		(&ongairv1.SendResponse{}).ProtoReflect().Descriptor(), (&ongairv1.SendImageResponse{}).ProtoReflect().Descriptor(),
		(&ongairv1.SendDocumentResponse{}).ProtoReflect().Descriptor(), (&ongairv1.CreateTicketResponse{}).ProtoReflect().Descriptor(),
	} {
		assert.True(t, message.ReservedRanges().Has(4) && message.ReservedNames().Has("cursor"), message.Name())
	}
	reasons := ongairv1.ErrorReason(0).Descriptor()
	for i, name := range []protoreflect.Name{"CONSUMER_UNKNOWN", "CONSUMER_LIMIT", "LEASE_LOST", "CONVERSATION_MOVED"} {
		assert.True(t, reasons.ReservedRanges().Has(protoreflect.EnumNumber(37+i)))
		assert.True(t, reasons.ReservedNames().Has("ERROR_REASON_"+name))
	}
}
