package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// webhookSettings is how webhooks are posted. It may be used concurrently.
type webhookSettings struct {
	mu       sync.Mutex
	receipts bool
	as       []OddForm
}

// SetReceipts switches the DeliveryReceipt after each MessageSent, see Config. It holds for the sends that follow.
func (s *Sandbox) SetReceipts(on bool) {
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.settings.receipts = on
}

// SetOddForms makes every later webhook have the given odd forms: those that calls cause, those of Trigger, and forms that
// are posted to the control. With none, webhooks are again as Ongair documents them. It fails, and changes nothing, if a
// form is unknown or the forms do not go together.
func (s *Sandbox) SetOddForms(as ...OddForm) error {
	if err := checkOddForms(as); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.settings.as = slices.Clone(as)
	return nil
}

func (ws *webhookSettings) oddForms() []OddForm {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return slices.Clone(ws.as)
}

func (ws *webhookSettings) wantsReceipts() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.receipts
}

// webhookControl is the body of PUT /_sandbox/webhooks. A setting that is left out stays as it is.
type webhookControl struct {
	Receipts *bool      `json:"receipts"`
	As       *[]OddForm `json:"as"`
}

func (s *Sandbox) shownSettings() webhookControl {
	receipts, as := s.settings.wantsReceipts(), append([]OddForm{}, s.settings.oddForms()...) // never null in JSON
	return webhookControl{Receipts: &receipts, As: &as}
}

func (s *Sandbox) putWebhooks(w http.ResponseWriter, r *http.Request) {
	var given webhookControl
	if !take(w, r, &given) {
		return
	}
	if given.Receipts == nil && given.As == nil {
		showError(w, http.StatusBadRequest, errors.New(`the fields "receipts" and "as" are missing`))
		return
	}
	if given.As != nil {
		if err := s.SetOddForms(*given.As...); err != nil {
			showError(w, http.StatusBadRequest, err)
			return
		}
	}
	if given.Receipts != nil {
		s.SetReceipts(*given.Receipts)
	}
	show(w, http.StatusOK, s.shownSettings())
}
