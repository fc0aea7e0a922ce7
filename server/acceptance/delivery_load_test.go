package acceptance

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestASubscriberThatWasOfflineDuringALoadGetsAllOfIt(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		before := r.Subscribe("before", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(0, "Hi")...))
		before.Events(1)
		before.Stop()

		load, end := context.WithTimeout(t.Context(), time.Duration(Rounds(2, 60))*time.Second)
		defer end()
		var posted atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for load.Err() == nil {
					id := int(posted.Add(1))
					assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(id, "Hi")...))
				}
			})
		}
		wg.Wait()
		for _, transport := range Transports() {
			r.Subscribe("back", transport, g.Endpoints(), from(before.Cursor())).Events(int(posted.Load()))
		}
		r.Verify(g.Endpoints())
	})
}
