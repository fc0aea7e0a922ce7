package auth

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	billingKey = "billing-key-0123456789"
	supportKey = "support-key-0123456789"
)

func TestAuthenticate(t *testing.T) {
	const (
		missing = ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING
		invalid = ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID
	)
	authenticator := New(map[string]string{"billing": billingKey, "support": supportKey})
	assert.False(t, authenticator.Open())
	for _, tt := range []struct {
		name   string
		given  []string
		caller string
		reason ongairv1.ErrorReason
	}{
		{"the key of one caller", []string{"Bearer " + billingKey}, "billing", 0},
		{"the key of another", []string{"Bearer " + supportKey}, "support", 0},
		{"a scheme in lower case", []string{"bearer " + billingKey}, "billing", 0},
		{"a scheme in upper case", []string{"BEARER " + billingKey}, "billing", 0},
		{"spaces around the key", []string{"Bearer   " + billingKey + " \t"}, "billing", 0},
		{"nothing", nil, "", missing},
		{"an empty value", []string{""}, "", invalid},
		{"a scheme alone", []string{"Bearer"}, "", invalid},
		{"an empty key", []string{"Bearer "}, "", invalid},
		{"a key of spaces", []string{"Bearer    "}, "", invalid},
		{"a key without a scheme", []string{billingKey}, "", invalid},
		{"another scheme", []string{"Basic " + billingKey}, "", invalid},
		{"a wrong key", []string{"Bearer billing-key-0123456780"}, "", invalid},
		{"the beginning of a key", []string{"Bearer " + billingKey[:10]}, "", invalid},
		{"a key and more", []string{"Bearer " + billingKey + "0"}, "", invalid},
		{"a key in another case", []string{"Bearer BILLING-KEY-0123456789"}, "", invalid},
		{"two keys in one", []string{"Bearer " + billingKey + " " + supportKey}, "", invalid},
		{"a caller's name", []string{"Bearer billing"}, "", invalid},
		{"the same key twice", []string{"Bearer " + billingKey, "Bearer " + billingKey}, "", invalid},
		{"a wrong key before the right one", []string{"Bearer no", "Bearer " + billingKey}, "", invalid},
		{"the right key before a wrong one", []string{"Bearer " + billingKey, "Bearer no"}, "", invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": tt.given})
			authenticated, err := authenticator.Authenticate(ctx)
			if tt.reason != 0 {
				require.Error(t, err)
				assert.Nil(t, authenticated)
				assert.Equal(t, tt.reason, fault.ReasonOf(status.Convert(err)))
				for _, given := range tt.given {
					if given != "" {
						assert.NotContains(t, err.Error(), given)
					}
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, Principal{Name: tt.caller}, FromContext(authenticated))
		})
	}
}

func TestACallWithoutMetadataHasNoCredentials(t *testing.T) {
	_, err := New(map[string]string{"billing": billingKey}).Authenticate(t.Context())
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING, fault.ReasonOf(status.Convert(err)))
}

func TestAnOpenGatewayTakesEveryCallAsAnonymous(t *testing.T) {
	authenticator := New(nil)
	assert.True(t, authenticator.Open())
	for name, md := range map[string]metadata.MD{
		"nothing": {}, "a key": {"authorization": {"Bearer " + billingKey}}, "nonsense": {"authorization": {"?", ""}},
	} {
		ctx, err := authenticator.Authenticate(metadata.NewIncomingContext(t.Context(), md))
		require.NoError(t, err, name)
		assert.Equal(t, Principal{}, FromContext(ctx), name)
	}
}

func TestAnEmptyKeyOpensNothingEvenIfItIsConfigured(t *testing.T) {
	authenticator := New(map[string]string{"forgotten": ""})
	assert.False(t, authenticator.Open())
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "))
	_, err := authenticator.Authenticate(ctx)
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, fault.ReasonOf(status.Convert(err)))
}
