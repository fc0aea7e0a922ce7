package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ongair/ongair-gateway/gen"
)

// bufFile is written only if it does not exist, because a project may have its own.
const bufFile = "buf.yaml"

type protoCmd struct {
	Output string `required:"" placeholder:"DIR" help:"Directory to write to. Existing files are replaced, except buf.yaml."`
	Plain  bool   `help:"Omit validation rules and REST annotations, so that the files import only google/protobuf."`
}

// Run writes the .proto files of the API and all files that they import.
func (c protoCmd) Run(s streams) error {
	files := gen.Protos(c.Plain)
	written := 0
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		target := filepath.Join(c.Output, filepath.FromSlash(path))
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(target, 0o777) //nolint:gosec // source code with the permissions of the umask
		case path == bufFile:
			if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		content, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		written++
		return os.WriteFile(target, content, 0o666) //nolint:gosec // source code with the permissions of the umask
	})
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	_, _ = fmt.Fprintf(s.err, "ongair-gateway: wrote %d files to %s\n", written, c.Output) // stderr may be closed
	return nil
}
