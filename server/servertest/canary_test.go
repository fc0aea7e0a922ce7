package servertest

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
)

// The test does not call Given. The functions that it tests record the values.
func TestCanariesAreFoundInALog(t *testing.T) {
	secrets := func(when string) func(*config.Config) {
		return func(c *config.Config) {
			c.APIKey = "the-api-key-of-all-" + when
			c.Callers = map[string]auth.Caller{"billing": auth.Unrestricted("the-callers-key-" + when)}
			c.EncryptionKeys = slices.Compact([]string{"the-encryption-key-of-32-characters-" + when, "the-encryption-key-of-32-characters-at-first"})
			channel := c.Channels[Channel]
			channel.Token, channel.WebhookSecret, channel.PreviousWebhookSecret = "the-token-"+when, "the-webhook-secret-"+when, "the-previous-secret-"+when
			channel.WebhookUsername, channel.WebhookPassword, channel.PreviousWebhookPassword = "ongair", "the-password-"+when, "the-previous-password-"+when
			c.Channels[Channel] = channel
		}
	}
	g := Start(t, secrets("at-first"))
	require.NoError(t, g.Reload(secrets("now")))
	g.Sandbox.SetTokens("the-token-now")
	require.Error(t, g.Reload(func(c *config.Config) { c.APIKey = "a key that is refused" }))

	NewRecorder(t).Post(g.WebhookURL(Channel), Channel, Form("text", "a text that is posted", "name", "Asha, who writes", "external_contact_id", "+254700000001")...)
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	_, err = ongairv1.NewOngairServiceClient(conn).SendDocument(t.Context(), &ongairv1.SendDocumentRequest{
		ExternalId: "+254700000002", FileUrl: "https://example.com/called.pdf", ContentType: "application/pdf", Caption: "a caption",
	})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.HTTP+"/v1/messages:send",
		strings.NewReader(`{"external_id":"+254700000003","text":"a text over REST"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer the-callers-key-now")
	answer, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	NewRecorder(t).Subscribe("all", OverGRPC{}, Endpoints{GRPC: g.GRPC, APIKey: "an-unknown-key"}, &ongairv1.SubscribeRequest{ConversationIds: []string{"a conversation"}})

	for _, secret := range []string{
		"the-api-key-of-all-", "the-callers-key-", "the-encryption-key-of-32-characters-", "the-token-",
		"the-webhook-secret-", "the-previous-secret-", "the-password-", "the-previous-password-",
	} {
		for _, when := range []string{"at-first", "now"} {
			assert.NotEmpty(t, given.found(`time=1 level=INFO msg="`+secret+when+`"`), secret+when)
		}
	}
	for _, value := range []string{
		"a text that is posted", "Asha, who writes", "254700000001",
		"254700000002", "https://example.com/called.pdf", "a caption", "254700000003", "a text over REST",
		"an-unknown-key", "a conversation", "a key that is refused",
	} {
		assert.NotEmpty(t, given.found(`level=INFO key="`+value+`"`), value)
	}
	assert.Empty(t, given.found(`level=INFO msg="gateway ready" grpc=`+g.GRPC+" channel="+Channel+" dir="+g.Config.DataDir+" url="+g.Config.Channels[Channel].BaseURL))
}
