package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/programs"
)

// browser opens Chromium for the duration of the test. Without Chromium, the test is skipped
// unless ONGAIR_GATEWAY_REQUIRE_CHROMIUM is set.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(programs.Require(t, "chromium")), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Run(ctx)) // starts Chromium
	return ctx
}

// evaluate returns the value of a JavaScript expression in the page.
func evaluate[T any](t *testing.T, ctx context.Context, expression string) (value T) {
	t.Helper()
	require.NoError(t, chromedp.Run(ctx, chromedp.Evaluate(expression, &value)))
	return value
}

// The policy of the page does not keep it from working.
func TestTheReferenceWorksInABrowser(t *testing.T) {
	ctx := browser(t)
	_, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir())
	_, err := chromedp.RunResponse(ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(`window.violations = []
			document.addEventListener("securitypolicyviolation", e => window.violations.push(e.violatedDirective + " " + e.blockedURI))`).Do(ctx)
		return err
	}), chromedp.Navigate("http://"+g.HTTP+"/docs"))
	require.NoError(t, err)
	operations := func() int { return evaluate[int](t, ctx, `document.querySelectorAll(".opblock").length`) }
	require.Eventually(t, func() bool { return operations() == 8 }, patience, 10*time.Millisecond)
	call := func(selector string) { // as a person does
		require.NoError(t, chromedp.Run(ctx, chromedp.Click(selector, chromedp.ByQuery)))
	}
	call("#operations-OngairService-OngairService_CreateStreamTicket .opblock-summary-control")
	call(".try-out__btn")
	call(".execute")
	require.NoError(t, chromedp.Run(ctx, chromedp.WaitVisible(".live-responses-table", chromedp.ByQuery)))
	assert.Contains(t, evaluate[string](t, ctx, `document.querySelector(".live-responses-table").innerText`), "expire_time")
	assert.Empty(t, evaluate[[]string](t, ctx, "window.violations"))
}

// The page has the gateway's origin and uses a plain EventSource.
func TestEventSourceInABrowserResumesAfterAKill(t *testing.T) {
	ctx := browser(t)
	_, url := silentSandbox(t)
	env, dir, r := oneChannel(url), t.TempDir(), NewRecorder(t)
	g := serve(t, env, "--data-dir", dir)
	require.NoError(t, chromedp.Run(ctx, chromedp.Navigate("http://"+g.HTTP+"/v1/events")))
	evaluate[bool](t, ctx, `(() => {
		window.got = []; window.opened = 0
		const source = new EventSource("/v1/events:subscribe?position=earliest&heartbeat_interval=1s")
		source.onopen = () => window.opened++
		source.addEventListener("MessageReceived", e => window.got.push(e.lastEventId))
		return true
	})()`)
	posted := 0
	post := func(n int) {
		for range n {
			posted++
			r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(posted, fmt.Sprint("text ", posted))...)
		}
	}
	seen := func() int { return evaluate[int](t, ctx, "window.got.length") }
	post(20)
	require.Eventually(t, func() bool { return seen() >= 20 }, patience, 10*time.Millisecond)
	for round := range 3 {
		post(30)
		g.kill() // while events are in transit to the page
		g = serve(t, env, "--data-dir", dir, "--http-addr", g.HTTP)
		post(10)
		require.Eventually(t, func() bool { return evaluate[int](t, ctx, "window.opened") == round+2 }, patience, 10*time.Millisecond)
		post(10)
	}
	require.Eventually(t, func() bool { return seen() >= posted }, patience, 10*time.Millisecond, "of %d events", posted)

	all := r.Subscribe("all", OverGRPC{}, g.endpoints(), &ongairv1.SubscribeRequest{
		Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
	})
	var want []string
	for _, e := range all.Events(posted) {
		want = append(want, e.GetCursor())
	}
	assert.Equal(t, want, evaluate[[]string](t, ctx, "window.got"), "each event once and in order")
	r.Verify(g.endpoints())
}

// The page has another origin and no key. It uses the code of docs/calls.md.
func TestAPageWithTicketsResumesAfterARestart(t *testing.T) {
	ctx := browser(t)
	_, url := silentSandbox(t)
	const key = "the-key-of-the-backend"
	dir, r := t.TempDir(), NewRecorder(t)
	var g *gateway
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/ticket" {
			_, _ = io.WriteString(w, "<!doctype html>")
			return
		}
		created := command(t, nil, "create-stream-ticket", "--addr", g.GRPC, "--api-key", key)
		w.WriteHeader(map[bool]int{true: http.StatusOK, false: http.StatusBadGateway}[created.code == exitOK])
		_, _ = io.WriteString(w, created.out)
	}))
	defer page.Close()
	env := append(oneChannel(url), "ONGAIR_GATEWAY_API_KEY="+key, "ONGAIR_GATEWAY_CORS_ORIGINS="+page.URL)
	g = serve(t, env, "--data-dir", dir)
	document, err := os.ReadFile("../../docs/calls.md")
	require.NoError(t, err)
	follow := fenced(string(document), "js")
	require.Len(t, follow, 1)
	require.NoError(t, chromedp.Run(ctx, chromedp.Navigate(page.URL)))
	evaluate[bool](t, ctx, follow[0]+`
		window.got = []
		const ticket = async () => { const r = await fetch("/ticket"); if (!r.ok) throw r.status; return (await r.json()).ticket }
		follow("http://`+g.HTTP+`", ticket, undefined, event => window.got.push(event.cursor))
		true`)
	posted := 0
	post := func() {
		posted++
		r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(posted, fmt.Sprint("text ", posted))...)
	}
	seen := func() int { return evaluate[int](t, ctx, "window.got.length") }
	require.Eventually(t, func() bool { post(); return seen() > 0 }, patience, 50*time.Millisecond, "the page is connected")
	for range 2 {
		assert.Equal(t, exitOK, g.stop(t))
		g = serve(t, env, "--data-dir", dir, "--http-addr", g.HTTP, "--grpc-addr", g.GRPC)
		for range 20 {
			post()
		}
	}
	all := r.Subscribe("all", OverGRPC{}, Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key}, &ongairv1.SubscribeRequest{
		Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
	})
	var cursors []string
	for _, e := range all.Events(posted) {
		cursors = append(cursors, e.GetCursor())
	}
	first := evaluate[string](t, ctx, "window.got[0]")
	want := cursors[slices.Index(cursors, first):]
	require.Eventually(t, func() bool { return seen() >= len(want) }, patience, 50*time.Millisecond)
	assert.Equal(t, want, evaluate[[]string](t, ctx, "window.got"), "each event once and in order")
}
