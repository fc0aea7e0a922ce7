package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// browser opens Chromium for the duration of the test. Without Chromium, the test is skipped
// unless ONGAIR_GATEWAY_REQUIRE_CHROMIUM is set.
func browser(t *testing.T) context.Context {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("ONGAIR_GATEWAY_REQUIRE_CHROMIUM") != "" {
			require.FailNow(t, "ONGAIR_GATEWAY_REQUIRE_CHROMIUM is set, but chromium is missing")
		}
		t.Skip("needs chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Run(ctx)) // starts it
	return ctx
}

// evaluate returns the value of a JavaScript expression in the page.
func evaluate[T any](t *testing.T, ctx context.Context, expression string) (value T) {
	t.Helper()
	require.NoError(t, chromedp.Run(ctx, chromedp.Evaluate(expression, &value)))
	return value
}

// The page is of the gateway's origin, and uses EventSource as it is.
func TestEventSourceInABrowserResumesOverAKill(t *testing.T) {
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
		g.kill() // while events are on their way to the page
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
