package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// bufYAML makes a folder a module of buf's, of which only our own files are linted and
// compared with earlier ones.
const bufYAML = `version: v2
lint:
  use:
    - STANDARD
  ignore:
    %[1]s
breaking:
  use:
    - FILE
  ignore:
    %[1]s
`

// writeClients writes both forms of what clients generate code from.
func writeClients(own, imports, dir string) error {
	full, plain := filepath.Join(dir, "full"), filepath.Join(dir, "plain")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := copyProtos(own, full); err != nil {
		return err
	}
	if err := copyProtos(imports, full); err != nil {
		return err
	}
	if err := writePlain(own, imports, plain); err != nil {
		return err
	}
	if err := copyProtos(filepath.Join(imports, "google", "rpc"), filepath.Join(plain, "google", "rpc")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(full, "buf.yaml"), fmt.Appendf(nil, bufYAML, "- buf\n    - google"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(plain, "buf.yaml"), fmt.Appendf(nil, bufYAML, "- google"), 0o600)
}

// protosIn returns the paths of the .proto files below a folder, relative to it.
func protosIn(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".proto" {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		paths = append(paths, filepath.ToSlash(relative))
		return err
	})
	return paths, err
}

func copyProtos(from, to string) error {
	paths, err := protosIn(from)
	if err != nil {
		return err
	}
	for _, path := range paths {
		content, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			return err
		}
		target := filepath.Join(to, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writePlain writes our own files without custom options, and without the imports that
// only those need. Comments stay.
func writePlain(own, imports, dir string) error {
	paths, err := protosIn(own)
	if err != nil {
		return err
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{own, imports}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(context.Background(), paths...)
	if err != nil {
		return err
	}
	var described descriptorpb.FileDescriptorSet
	for _, file := range compiled {
		f := proto.CloneOf(protoutil.ProtoFromFileDescriptor(file))
		clearExtensions(f.ProtoReflect())
		f.Dependency = slices.DeleteFunc(f.Dependency, func(path string) bool {
			return !slices.Contains(paths, path) && !strings.HasPrefix(path, "google/protobuf/")
		})
		described.File = append(described.File, f)
	}
	for _, path := range []string{"google/protobuf/duration.proto", "google/protobuf/timestamp.proto"} {
		builtIn, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			return err
		}
		described.File = append(described.File, protodesc.ToFileDescriptorProto(builtIn))
	}
	registry, err := protodesc.NewFiles(&described)
	if err != nil {
		return err
	}
	var files []protoreflect.FileDescriptor
	for _, path := range paths {
		file, err := registry.FindFileByPath(path)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	printer := protoprint.Printer{}
	return printer.PrintProtosToFileSystem(files, dir)
}

// clearExtensions clears the extensions of a message and of every message in it. In a
// descriptor, those are the custom options.
func clearExtensions(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsExtension():
			m.Clear(field)
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range value.List().Len() {
				clearExtensions(value.List().Get(i).Message())
			}
		default:
			clearExtensions(value.Message())
		}
		return true
	})
	m.SetUnknown(nil)
}
