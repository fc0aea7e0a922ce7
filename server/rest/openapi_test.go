package rest

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/ongair/ongair-gateway/gen"
	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// openAPI is the part of the document that the tests read.
type openAPI struct {
	Paths map[string]map[string]struct {
		Parameters []struct {
			Name    string
			Example any
			Schema  map[string]any
		}
		RequestBody struct {
			Content map[string]struct{ Example json.RawMessage }
		}
		Responses map[string]struct{ Description string }
	}
	Components struct {
		Schemas map[string]struct {
			Properties map[string]struct{ Enum []string }
		}
	}
}

func readOpenAPI(t *testing.T) (document openAPI) {
	t.Helper()
	require.NoError(t, json.Unmarshal(gen.OpenAPIJSON(), &document))
	return document
}

func TestTheOpenAPIDocumentIsTheSameAsJSONAndYAML(t *testing.T) {
	var fromYAML any
	require.NoError(t, yaml.Unmarshal(gen.OpenAPIYAML(), &fromYAML))
	asJSON, err := json.Marshal(fromYAML)
	require.NoError(t, err)
	assert.JSONEq(t, string(gen.OpenAPIJSON()), string(asJSON))
}

// A reference to a schema that does not exist would break every generator of clients.
func TestEveryReferenceOfTheOpenAPIDocumentResolves(t *testing.T) {
	document := readOpenAPI(t)
	references := regexp.MustCompile(`"\$ref": "#/components/schemas/([^"]+)"`).FindAllStringSubmatch(string(gen.OpenAPIJSON()), -1)
	require.Greater(t, len(references), 50)
	for _, reference := range references {
		assert.Contains(t, document.Components.Schemas, reference[1])
	}
}

func TestTheOpenAPIDocumentHasTheRoutesAndReasonsOfTheProto(t *testing.T) {
	document := readOpenAPI(t)
	found, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	require.NoError(t, err)
	var documented []string
	mentioned := ""
	for path, methods := range document.Paths {
		for method, operation := range methods {
			documented = append(documented, strings.ToUpper(method)+" "+path)
			for _, response := range operation.Responses {
				mentioned += response.Description + "\n"
			}
		}
	}
	assert.ElementsMatch(t, listRoutes(found), documented)
	reasons := document.Components.Schemas["google.rpc.ErrorInfo"].Properties["reason"].Enum
	for name := range ongairv1.ErrorReason_value {
		reason := strings.TrimPrefix(name, "ERROR_REASON_")
		if reason == "UNSPECIFIED" {
			continue
		}
		assert.Contains(t, reasons, reason)
		if reason != "METHOD_UNKNOWN" { // of gRPC
			assert.Regexp(t, `\b`+reason+`\b`, mentioned)
		}
	}
}

func TestExamplesOfTheOpenAPIDocumentAreAccepted(t *testing.T) {
	document := readOpenAPI(t)
	g := start(t, withLog(t), withCaller)
	examples := 0
	for path, methods := range document.Paths {
		example := string(methods["post"].RequestBody.Content["application/json"].Example)
		if example == "" {
			continue
		}
		examples++
		header := []string{"Authorization", "Bearer " + apiKey, "Content-Type", "application/json"}
		if path == subscribePath {
			g.openStream(t, http.MethodPost, path, example, header...).result(t)
			continue
		}
		got := g.do(t, http.MethodPost, path, example, header...)
		assert.Equal(t, http.StatusOK, got.status, got.body)
	}
	assert.Equal(t, 6, examples, "every POST has one")
}

func TestTheDescriptionOfTheAPINeedsNoKey(t *testing.T) {
	g := start(t, withCaller)
	for target, contentType := range map[string]string{
		"/": "application/json", "/openapi.json": "application/json", "/openapi.yaml": "application/yaml",
		"/docs": "text/html", "/docs/": "text/html", "/docs/swagger-ui.css": "text/css; charset=utf-8",
	} {
		got := g.do(t, http.MethodGet, target, "")
		assert.Equal(t, http.StatusOK, got.status, target)
		assert.Equal(t, contentType, got.header.Get("Content-Type"), target)
		assert.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"), target)
	}
	assert.Equal(t, string(gen.OpenAPIJSON()), g.do(t, http.MethodGet, "/openapi.json", "").body)
	page := g.do(t, http.MethodGet, "/", "", "Accept", "text/html,application/xhtml+xml")
	assert.Contains(t, page.body, `href="/docs"`)
	assert.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	requireError(t, g.do(t, http.MethodPost, "/docs", ""), ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN)
	requireError(t, g.do(t, http.MethodGet, "/documents", ""), ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN)
}

func TestTheReferenceRunsOnlyItsOwnScripts(t *testing.T) {
	g := start(t)
	got := g.do(t, http.MethodGet, docsPath, "")
	policy := got.header.Get("Content-Security-Policy")
	assert.Regexp(t, `^default-src 'none'; script-src 'self'( 'sha256-[A-Za-z0-9+/]{43}='){2}; `, policy)
	scripts := policy[strings.Index(policy, "script-src"):]
	assert.NotContains(t, scripts[:strings.Index(scripts, ";")], "unsafe")
	assert.Empty(t, regexp.MustCompile(`(src|href)="(https?:)?//`).FindAllString(got.body, -1), "no file of another server")
	assert.Empty(t, regexp.MustCompile(`\son\w+="`).FindAllString(got.body, -1), "no script in an attribute")
}

func TestEveryReasonIsDocumented(t *testing.T) {
	table, err := os.ReadFile("../../docs/errors.md")
	require.NoError(t, err)
	document := readOpenAPI(t)
	for _, reason := range document.Components.Schemas["google.rpc.ErrorInfo"].Properties["reason"].Enum {
		assert.Contains(t, string(table), "| `"+reason+"` |")
		assert.NotEqual(t, ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED, ongairv1.ErrorReason(ongairv1.ErrorReason_value["ERROR_REASON_"+reason]))
		assert.NotZero(t, fault.HTTPStatus(ongairv1.ErrorReason(ongairv1.ErrorReason_value["ERROR_REASON_"+reason])))
	}
}
