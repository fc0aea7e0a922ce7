package main

import (
	"fmt"

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
)

// writeImports writes the files that proto/ imports, and those that describe errors.
func writeImports(dir string) error {
	var files []protoreflect.FileDescriptor
	for _, linked := range []protoreflect.FileDescriptor{
		validate.File_buf_validate_validate_proto,
		annotations.File_google_api_annotations_proto,
		annotations.File_google_api_http_proto,
		annotations.File_google_api_field_behavior_proto,
		status.File_google_rpc_status_proto,
		errdetails.File_google_rpc_error_details_proto,
	} {
		described := protodesc.ToFileDescriptorProto(linked)
		if err := spellOut(described); err != nil {
			return fmt.Errorf("%s: %w", linked.Path(), err)
		}
		file, err := protodesc.NewFile(described, protoregistry.GlobalFiles)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	printer := protoprint.Printer{Compact: true}
	return printer.PrintProtosToFileSystem(files, dir)
}

// spellOut writes the rules of buf/validate/validate.proto one by one, as
// (buf.validate.predefined).cel = { … }. The printer would write them as a list of
// messages in a message, which protobufjs does not parse.
func spellOut(file *descriptorpb.FileDescriptorProto) error {
	return eachField(file.GetMessageType(), func(field *descriptorpb.FieldDescriptorProto) error {
		options := field.GetOptions()
		if !proto.HasExtension(options, validate.E_Predefined) {
			return nil
		}
		rules := proto.CloneOf(proto.GetExtension(options, validate.E_Predefined).(*validate.PredefinedRules))
		for _, rule := range rules.GetCel() {
			text, err := prototext.MarshalOptions{Multiline: false}.Marshal(rule)
			if err != nil {
				return err
			}
			options.UninterpretedOption = append(options.UninterpretedOption, &descriptorpb.UninterpretedOption{
				Name: []*descriptorpb.UninterpretedOption_NamePart{
					{NamePart: proto.String(string(validate.E_Predefined.TypeDescriptor().FullName())), IsExtension: proto.Bool(true)},
					{NamePart: proto.String("cel"), IsExtension: proto.Bool(false)},
				},
				AggregateValue: proto.String(string(text)),
			})
		}
		if rules.Cel = nil; proto.Size(rules) > 0 {
			return fmt.Errorf("%s has predefined rules that are not CEL", field.GetName())
		}
		proto.ClearExtension(options, validate.E_Predefined)
		return nil
	})
}

// eachField calls f with every field of messages, nested ones included.
func eachField(messages []*descriptorpb.DescriptorProto, f func(*descriptorpb.FieldDescriptorProto) error) error {
	for _, message := range messages {
		for _, field := range message.GetField() {
			if err := f(field); err != nil {
				return err
			}
		}
		if err := eachField(message.GetNestedType(), f); err != nil {
			return err
		}
	}
	return nil
}
