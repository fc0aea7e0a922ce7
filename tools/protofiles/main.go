// Protofiles writes .proto files: those that this repository's own import, and those
// that clients get from `ongair-gateway proto`. It needs no schema registry and no
// network, because everything comes from descriptors linked into Go modules that
// tools/go.mod pins, and from proto/.
//
//	protofiles imports DIR          what proto/ imports, and google/rpc
//	protofiles clients PROTO IMPORTS DIR
//
// "clients" writes two folders to DIR from the files in PROTO and IMPORTS. "full" has
// all of them as they are. "plain" has those of PROTO without custom options, so that
// they import nothing but google/protobuf, and google/rpc.
//
// google/protobuf/*.proto is left out of all of them: every compiler has it built in.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "protofiles:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "imports":
		return writeImports(args[1])
	case len(args) == 4 && args[0] == "clients":
		return writeClients(args[1], args[2], args[3])
	}
	return errors.New("usage: protofiles imports DIR | protofiles clients PROTO IMPORTS DIR")
}
