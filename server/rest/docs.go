package rest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"github.com/ongair/ongair-gateway/gen"
)

// docsPath is the path of the interactive reference.
const docsPath = "/docs"

// indexPage is the page at the root for browsers.
const indexPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Ongair Gateway</title>
<h1>Ongair Gateway</h1>
<p>Send messages through Ongair, and subscribe to what customers write.</p>
<ul>
<li><a href="/docs">Reference</a>: try the REST API in the browser
<li><a href="/openapi.json">openapi.json</a>, <a href="/openapi.yaml">openapi.yaml</a>: generate a client
<li><code>/v1/…</code>: the REST API
<li>gRPC is on another port, 9090 by default: <code>ongair.v1.OngairService</code>
</ul>
`

// indexJSON is the answer at the root for other clients.
const indexJSON = `{"name": "Ongair Gateway", "docs": "/docs", "openapi": "/openapi.json", "rest": "/v1", "grpc": "ongair.v1.OngairService"}
`

// withPages serves the description of the API, which needs no credentials, and next for all other
// paths.
func withPages(next http.Handler) http.Handler {
	reference := newReference()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			next.ServeHTTP(w, req)
			return
		}
		switch path := req.URL.Path; {
		case path == "/" && strings.Contains(req.Header.Get("Accept"), "text/html"):
			w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
			writePage(w, "text/html; charset=utf-8", []byte(indexPage))
		case path == "/":
			writePage(w, "application/json", []byte(indexJSON))
		case path == "/openapi.json":
			writePage(w, "application/json", gen.OpenAPIJSON())
		case path == "/openapi.yaml":
			writePage(w, "application/yaml", gen.OpenAPIYAML())
		case path == docsPath, strings.HasPrefix(path, docsPath+"/"):
			reference.ServeHTTP(w, req)
		default:
			next.ServeHTTP(w, req)
		}
	})
}

func writePage(w http.ResponseWriter, contentType string, page []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(page)))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept")
	_, _ = w.Write(page) // fails if the client has left
}

// newReference returns the handler of the interactive reference, Swagger UI, whose files are in the
// program. Its page may run only its own scripts, and connect only to the gateway.
func newReference() http.Handler {
	ui := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Ongair Gateway", SwaggerJSON: "/openapi.json", BasePath: docsPath,
		SettingsUI: map[string]string{"defaultModelsExpandDepth": "1", "persistAuthorization": "false"},
	})
	policy := policyOf(ui)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		ui.ServeHTTP(w, req)
	})
}

// inlineScript matches the scripts in a page.
var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// rendered is the answer of a handler.
type rendered struct {
	bytes.Buffer
	header http.Header
}

// Header implements http.ResponseWriter.
func (r *rendered) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *rendered) WriteHeader(int) {}

// policyOf returns a Content-Security-Policy that allows the inline scripts of a page by their
// hashes. Swagger UI sets style attributes, so inline styles are allowed.
func policyOf(page http.Handler) string {
	got := rendered{header: http.Header{}}
	page.ServeHTTP(&got, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: docsPath}})
	scripts := "'self'"
	for _, script := range inlineScript.FindAllSubmatch(got.Bytes(), -1) {
		sum := sha256.Sum256(script[1])
		scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; script-src " + scripts + "; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
