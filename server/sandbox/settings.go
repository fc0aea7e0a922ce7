package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// webhookSettings holds the settings of webhooks. It is safe for concurrent use.
type webhookSettings struct {
	mu       sync.Mutex
	receipts bool
	as       []OddForm
}

// SetReceipts turns the DeliveryReceipt after each MessageSent on or off, see Config. It applies to
// later sends.
func (s *Sandbox) SetReceipts(on bool) {
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.settings.receipts = on
}

// SetOddForms sets the odd forms of every later webhook: those that calls cause, those of Trigger,
// and forms that are posted to the control. Without arguments, webhooks are as Ongair documents
// them. SetOddForms fails, and changes nothing, if a form is unknown or the forms cannot be
// combined.
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

// webhookControl is the body of PUT /_sandbox/webhooks. A missing field does not change its
// setting.
type webhookControl struct {
	Receipts *bool      `json:"receipts"`
	As       *[]OddForm `json:"as"`
}

func (s *Sandbox) currentSettings() webhookControl {
	receipts, as := s.settings.wantsReceipts(), append([]OddForm{}, s.settings.oddForms()...) // never null in JSON
	return webhookControl{Receipts: &receipts, As: &as}
}

func (s *Sandbox) putWebhooks(w http.ResponseWriter, r *http.Request) {
	var given webhookControl
	if !readControl(w, r, &given) {
		return
	}
	if given.Receipts == nil && given.As == nil {
		showError(w, http.StatusBadRequest, errors.New(`the fields "receipts" and "as" are missing: set at least one`))
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
	show(w, http.StatusOK, s.currentSettings())
}
