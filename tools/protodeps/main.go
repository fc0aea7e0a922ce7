// Protodeps writes the .proto files that this repository's own import, so that
// code generation needs no schema registry and no network.
//
// Their descriptors are linked into Go modules that tools/go.mod pins. Protodeps
// prints those descriptors back as source, each under its import path in the
// folder that its only argument names. google/protobuf/*.proto is left out,
// because buf has it built in. Versions are bumped with `go get` like those of
// any Go module.
package main

import (
	"fmt"
	"os"

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2/options"
	"google.golang.org/genproto/googleapis/api/annotations"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "protodeps:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, the folder to write to")
	}
	files := []protoreflect.FileDescriptor{
		validate.File_buf_validate_validate_proto,
		annotations.File_google_api_annotations_proto,
		annotations.File_google_api_http_proto,
		annotations.File_google_api_field_behavior_proto,
		options.File_protoc_gen_openapiv2_options_annotations_proto,
		options.File_protoc_gen_openapiv2_options_openapiv2_proto,
	}
	printer := protoprint.Printer{Compact: true}
	return printer.PrintProtosToFileSystem(files, args[0])
}
