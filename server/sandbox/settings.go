package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// webhookSettings has the settings of webhooks. It is safe for concurrent use.
type webhookSettings struct {
	mu       sync.Mutex
	receipts bool
	as       []OddForm
}

// SetReceipts enables or disables the DeliveryReceipt after each MessageSent, for later sends
// (Config.Receipts).
func (s *Sandbox) SetReceipts(on bool) {
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.settings.receipts = on
}

// SetOddForms sets the odd forms of all later webhooks: those of calls, of Trigger, and forms
// that are posted to the control. Without arguments webhooks are as Ongair documents them. It
// fails, and changes nothing, if a form is unknown or the forms cannot be combined.
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

// webhookControl is the body of PUT /_sandbox/webhooks. Missing settings are not changed.
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
