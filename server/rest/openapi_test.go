package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
	"golang.org/x/net/html"

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
		"/docs": "text/html; charset=utf-8", "/docs/": "text/html; charset=utf-8", "/docs/swagger-ui.css": "text/css; charset=utf-8",
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
	for _, target := range []string{"/", "/docs", "/openapi.json", "/docs/swagger-ui.css"} {
		got := g.do(t, http.MethodPost, target, "")
		requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED)
		assert.Equal(t, "GET, HEAD", got.header.Get("Allow"), target)
		head := g.do(t, http.MethodHead, target, "")
		assert.Equal(t, http.StatusOK, head.status, target)
		assert.Empty(t, head.body, target)
	}
	requireError(t, g.do(t, http.MethodGet, "/documents", ""), ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN)
}

func TestOnlyTheFilesOfTheReferenceAreServed(t *testing.T) {
	g := start(t)
	for _, path := range []string{
		"/docs/x", "/docs//", "/docs/../openapi.json", "/Docs", "/docs/oauth2-redirect.html", "/docs/swagger-ui.js", "/docs/swagger-ui.css.gz",
		"/docs/embed.go", "/openapi", "/openapi.json/", "//", "/index.html",
	} {
		requireError(t, g.do(t, http.MethodGet, path, ""), ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN)
	}
	page := g.do(t, http.MethodGet, docsPath, "").body
	files := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	require.Len(t, files, 5)
	for _, file := range files { // those of another server would be none of the gateway's paths
		assert.Equal(t, http.StatusOK, g.do(t, http.MethodGet, file[1], "").status, file[1])
	}
}

// deadlines is a ResponseWriter that records whether a write had a deadline.
type deadlines struct {
	*httptest.ResponseRecorder
	set     time.Time
	bounded bool
}

func (d *deadlines) SetWriteDeadline(deadline time.Time) error {
	d.set = deadline
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	d.bounded = !d.set.IsZero()
	return d.ResponseRecorder.Write(p)
}

// Nobody is identified here, so that no limit of a caller ends a client that does not read.
func TestAPageMustBeReadInTime(t *testing.T) {
	handler := withPages(http.NotFoundHandler())
	for _, path := range []string{"/", "/openapi.json", "/openapi.yaml", docsPath, "/docs/swagger-ui-bundle.js"} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.True(t, w.bounded, path)
	}
}

// unhashed returns the inline scripts and styles in a page that a policy does not allow by a hash.
func unhashed(t *testing.T, page, policy string) (found []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	for node := range root.Descendants() {
		if (node.Data != "script" && node.Data != "style") || node.FirstChild == nil {
			continue
		}
		sum := sha256.Sum256([]byte(node.FirstChild.Data))
		directive := regexp.MustCompile(node.Data + "-src [^;]*").FindString(policy)
		if !strings.Contains(directive, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			found = append(found, node.FirstChild.Data)
		}
	}
	return found
}

func TestTheReferenceRunsOnlyItsOwnScripts(t *testing.T) {
	g := start(t)
	got := g.do(t, http.MethodGet, docsPath, "")
	policy := got.header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'; ")
	assert.NotContains(t, policy, "unsafe")
	assert.Empty(t, unhashed(t, got.body, policy))
	for _, code := range []string{"<script>alert(1)</script>", "<script type=module>alert(1)</script>", "<style>p {}</style>"} {
		assert.Len(t, unhashed(t, strings.Replace(got.body, "</body>", code+"</body>", 1), policy), 1, code)
	}
	assert.Empty(t, regexp.MustCompile(`\s(on\w+|style)="`).FindAllString(got.body, -1), "no code in an attribute")
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
