// Openapi completes the OpenAPI document of the REST API. `make generate` runs it on the output of
// protoc-gen-connect-openapi, which knows the messages, paths and rules of the .proto files, and
// adds what they do not have: headers, errors, the formats of streams, and examples.
//
// It also corrects what a schema must not claim:
//
//   - Fields of a oneof become optional fields of their message. A schema of allOf with
//     additionalProperties: false would match nothing.
//   - Responses may have further fields, so that a client accepts those of later releases. Their
//     fields without presence are required, because the gateway always sends them.
//   - Bounds in bytes become the same bounds in characters, which every valid value meets, and the
//     extensions x-min-bytes and x-max-bytes.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v4"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: openapi OPENAPI.json OPENAPI.yaml")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// run completes the document in jsonFile, and writes it as YAML, too.
func run(jsonFile, yamlFile string) error {
	generated, err := os.ReadFile(jsonFile) //nolint:gosec // a path of the Makefile
	if err != nil {
		return err
	}
	var document object
	if err := json.Unmarshal(generated, &document); err != nil {
		return err
	}
	complete(document)
	var asJSON bytes.Buffer
	encoder := json.NewEncoder(&asJSON)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return err
	}
	asYAML, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	if err := os.WriteFile(jsonFile, asJSON.Bytes(), 0o644); err != nil { //nolint:gosec // source code
		return err
	}
	return os.WriteFile(yamlFile, asYAML, 0o644) //nolint:gosec // source code
}
