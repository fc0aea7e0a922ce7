package sandbox

import (
	"errors"
	"net/http"
	"sync"
)

// webhookSettings is how webhooks are posted. It may be used concurrently.
type webhookSettings struct {
	mu       sync.Mutex
	receipts bool
}

// SetReceipts switches the DeliveryReceipt after each MessageSent, see Config. It holds for the sends that follow.
func (s *Sandbox) SetReceipts(on bool) {
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.settings.receipts = on
}

func (ws *webhookSettings) wantsReceipts() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.receipts
}

// webhookControl is the body of PUT /_sandbox/webhooks. A setting that is left out stays as it is.
type webhookControl struct {
	Receipts *bool `json:"receipts"`
}

func (s *Sandbox) shownSettings() webhookControl {
	receipts := s.settings.wantsReceipts()
	return webhookControl{Receipts: &receipts}
}

func (s *Sandbox) putWebhooks(w http.ResponseWriter, r *http.Request) {
	var given webhookControl
	if !take(w, r, &given) {
		return
	}
	if given.Receipts == nil {
		showError(w, http.StatusBadRequest, errors.New(`the field "receipts" is missing`))
		return
	}
	s.SetReceipts(*given.Receipts)
	show(w, http.StatusOK, s.shownSettings())
}
