// Package gen holds the generated files that the gateway hands out.
package gen

import (
	"embed"
	"io/fs"
)

//go:embed proto
var protos embed.FS

// Protos returns the .proto files that a client generates its code from, as a module of
// buf's. The plain ones import nothing but google/protobuf, because they lack the
// validation rules and the REST annotations.
func Protos(plain bool) fs.FS {
	dir := "proto/full"
	if plain {
		dir = "proto/plain"
	}
	files, err := fs.Sub(protos, dir)
	if err != nil {
		panic(err) // never: the path is valid
	}
	return files
}
