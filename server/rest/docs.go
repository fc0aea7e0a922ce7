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
	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
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
	pages := newReference()
	pages["/"] = http.HandlerFunc(writeIndex)
	pages["/openapi.json"] = pageOf("application/json", gen.OpenAPIJSON())
	pages["/openapi.yaml"] = pageOf("application/yaml", gen.OpenAPIYAML())
	const allowed = "GET, HEAD"
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		page, ok := pages[req.URL.Path]
		switch {
		case !ok:
			next.ServeHTTP(w, req)
		case req.Method != http.MethodGet && req.Method != http.MethodHead:
			w.Header().Set("Allow", allowed)
			write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED, "method not allowed: use %s", allowed))
		default:
			w.Header().Set("X-Content-Type-Options", "nosniff")
			page.ServeHTTP(timedWriter{w}, req)
		}
	})
}

// writeIndex answers browsers with a page, and other clients with JSON.
func writeIndex(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Vary", "Accept")
	if !strings.Contains(req.Header.Get("Accept"), "text/html") {
		writePage(w, "application/json", []byte(indexJSON))
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	writePage(w, "text/html; charset=utf-8", []byte(indexPage))
}

// pageOf returns the handler of a page.
func pageOf(contentType string, page []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writePage(w, contentType, page) })
}

func writePage(w http.ResponseWriter, contentType string, page []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(page)))
	_, _ = w.Write(page) // fails if the client has left
}

// newReference returns the handlers of the interactive reference, Swagger UI, by path: its page, and
// the files that the page loads. They are in the program. The page may run only its own scripts, and
// connect only to the gateway.
func newReference() map[string]http.Handler {
	ui := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Ongair Gateway", SwaggerJSON: "/openapi.json", BasePath: docsPath,
		SettingsUI: map[string]string{"defaultModelsExpandDepth": "1", "persistAuthorization": "false"},
	})
	got := rendered{header: http.Header{}}
	ui.ServeHTTP(&got, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: docsPath}})
	policy := policyOf(got.Bytes())
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		writePage(w, "text/html; charset=utf-8", got.Bytes())
	})
	pages := map[string]http.Handler{docsPath: page, docsPath + "/": page}
	for _, file := range loadedFile.FindAllSubmatch(got.Bytes(), -1) {
		pages[string(file[1])] = ui
	}
	return pages
}

// inlineCode matches the scripts and styles in a page, and loadedFile the files that it loads.
var (
	inlineCode = regexp.MustCompile(`(?s)<(script|style)>(.*?)</(?:script|style)>`)
	loadedFile = regexp.MustCompile(`(?:src|href)="(` + docsPath + `/[^"]+)"`)
)

// rendered is the answer of a handler.
type rendered struct {
	bytes.Buffer
	header http.Header
}

// Header implements http.ResponseWriter.
func (r *rendered) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *rendered) WriteHeader(int) {}

// policyOf returns a Content-Security-Policy that allows the inline scripts and styles of a page by
// their hashes.
func policyOf(page []byte) string {
	sources := map[string]string{"script": "'self'", "style": "'self'"}
	for _, code := range inlineCode.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(code[2])
		sources[string(code[1])] += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; script-src " + sources["script"] + "; style-src " + sources["style"] + "; img-src 'self' data:; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
