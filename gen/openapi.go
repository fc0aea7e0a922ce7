package gen

import _ "embed"

//go:embed openapi/openapi.json
var openAPIJSON []byte

//go:embed openapi/openapi.yaml
var openAPIYAML []byte

// OpenAPIJSON returns the OpenAPI 3.1 document of the REST API as JSON. It MUST NOT be changed.
func OpenAPIJSON() []byte { return openAPIJSON }

// OpenAPIYAML returns the same document as YAML. It MUST NOT be changed.
func OpenAPIYAML() []byte { return openAPIYAML }
