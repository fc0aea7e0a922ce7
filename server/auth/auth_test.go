package auth

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	authenticator := New(map[string]Caller{"billing": Unrestricted(billingKey), "support": Unrestricted(supportKey)})
	assert.False(t, authenticator.callers.Load().open())
	for _, tt := range []struct {
		name   string
		given  []string
		caller string
		reason ongairv1.ErrorReason
	}{
		{"the key of one caller", []string{"Bearer " + billingKey}, "billing", 0},
		{"the key of another caller", []string{"Bearer " + supportKey}, "support", 0},
		{"a scheme in lower case", []string{"bearer " + billingKey}, "billing", 0},
		{"a scheme in upper case", []string{"BEARER " + billingKey}, "billing", 0},
		{"spaces around the key", []string{"Bearer   " + billingKey + " \t"}, "billing", 0},
		{"nothing", nil, "", missing},
		{"an empty value", []string{""}, "", invalid},
		{"only a scheme", []string{"Bearer"}, "", invalid},
		{"an empty key", []string{"Bearer "}, "", invalid},
		{"a key of spaces", []string{"Bearer    "}, "", invalid},
		{"a key without a scheme", []string{billingKey}, "", invalid},
		{"another scheme", []string{"Basic " + billingKey}, "", invalid},
		{"a wrong key", []string{"Bearer billing-key-0123456780"}, "", invalid},
		{"the beginning of a key", []string{"Bearer " + billingKey[:10]}, "", invalid},
		{"a key with another character", []string{"Bearer " + billingKey + "0"}, "", invalid},
		{"a key in another case", []string{"Bearer BILLING-KEY-0123456789"}, "", invalid},
		{"two keys in one", []string{"Bearer " + billingKey + " " + supportKey}, "", invalid},
		{"a caller's name", []string{"Bearer billing"}, "", invalid},
		{"the same key twice", []string{"Bearer " + billingKey, "Bearer " + billingKey}, "", invalid},
		{"a wrong key before the right one", []string{"Bearer no", "Bearer " + billingKey}, "", invalid},
		{"the right key before a wrong one", []string{"Bearer " + billingKey, "Bearer no"}, "", invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			authenticated, err := authenticator.Authenticate(tt.given, nil)
			if tt.reason != 0 {
				require.Error(t, err)
				assert.Zero(t, authenticated)
				assert.Equal(t, tt.reason, fault.ReasonOf(status.Convert(err)))
				for _, given := range tt.given {
					if given != "" {
						assert.NotContains(t, err.Error(), given)
					}
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.caller, authenticated.Name)
		})
	}
}

func TestACallWithoutHeadersHasNoCredentials(t *testing.T) {
	_, err := New(map[string]Caller{"billing": Unrestricted(billingKey)}).Authenticate(nil, nil)
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING, fault.ReasonOf(status.Convert(err)))
}

func TestAnOpenGatewayTreatsCallsAsAnonymous(t *testing.T) {
	authenticator := New(nil)
	assert.True(t, authenticator.callers.Load().open())
	for name, given := range map[string][]string{"no credential": nil, "a key": {"Bearer " + billingKey}, "invalid credentials": {"?", ""}} {
		anonymous, err := authenticator.Authenticate(given, nil)
		require.NoError(t, err, name)
		assert.Empty(t, anonymous.Name, name)
		for _, action := range Actions() {
			assert.NoError(t, anonymous.MayDo(action), name)
		}
		assert.NoError(t, anonymous.MayUse("any channel"), name)
	}
}

func TestAnEmptyKeyIsRejectedEvenIfConfigured(t *testing.T) {
	authenticator := New(map[string]Caller{"forgotten": Unrestricted("")})
	assert.False(t, authenticator.callers.Load().open())
	_, err := authenticator.Authenticate([]string{"Bearer "}, nil)
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, fault.ReasonOf(status.Convert(err)))
}

func TestAnUnauthenticatedPrincipalMayDoNothing(t *testing.T) {
	nobody := FromContext(t.Context())
	for _, action := range Actions() {
		assert.Error(t, nobody.MayDo(action), action)
	}
	for _, channel := range []string{"support", "", AllChannels} {
		assert.Error(t, nobody.MayUse(channel), channel)
	}
	channels, limited := nobody.Channels()
	assert.True(t, limited)
	assert.Empty(t, channels)
}

func TestAPrincipalMayDoOnlyGrantedActions(t *testing.T) {
	for _, tt := range []struct {
		name              string
		actions           []Action
		channels          []string
		may, mayNot       []Action
		mayUse, mayNotUse []string
	}{
		{
			"one action and one channel", []Action{ActionSend}, []string{"support"},
			[]Action{ActionSend}, []Action{ActionTickets, ActionSubscribe, "", "sen", "Send"},
			[]string{"support"}, []string{"sales", "", "suppor", "Support", AllChannels},
		},
		{
			"all channels", []Action{ActionSubscribe, ActionTickets}, []string{AllChannels},
			[]Action{ActionTickets, ActionSubscribe}, []Action{ActionSend}, []string{"support", "sales"}, nil,
		},
		{"nothing", nil, nil, nil, Actions(), nil, []string{"support", "", AllChannels}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			caller := Caller{KeyHashes: []KeyHash{HashKey(billingKey)}, Actions: tt.actions, Channels: tt.channels}
			p, err := New(map[string]Caller{"billing": caller}).Authenticate([]string{"Bearer " + billingKey}, nil)
			require.NoError(t, err)
			for _, action := range tt.may {
				assert.NoError(t, p.MayDo(action))
			}
			for _, action := range tt.mayNot {
				err := p.MayDo(action)
				require.Error(t, err, action)
				assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, fault.From(err).Reason)
				assert.Equal(t, map[string]string{"action": string(action)}, fault.From(err).Metadata)
			}
			for _, channel := range tt.mayUse {
				assert.NoError(t, p.MayUse(channel))
			}
			for _, channel := range tt.mayNotUse {
				err := p.MayUse(channel)
				require.Error(t, err, channel)
				assert.Equal(t, map[string]string{"channel": channel}, fault.From(err).Metadata)
			}
		})
	}
}

func TestEachKeyOfACallerIsValid(t *testing.T) {
	authenticator := New(map[string]Caller{"billing": Unrestricted(billingKey, "the-next-key-0123456789")})
	for _, key := range []string{billingKey, "the-next-key-0123456789"} {
		p, err := authenticator.Authenticate([]string{"Bearer " + key}, nil)
		require.NoError(t, err)
		assert.Equal(t, "billing", p.Name)
	}
}

func TestNewKeysDifferAndAreLong(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		key := NewKey()
		assert.Regexp(t, `^ogk_[A-Za-z0-9_-]{43}$`, key)
		assert.False(t, seen[key])
		seen[key] = true
	}
}

func TestAHashRoundTrips(t *testing.T) {
	hash := HashKey(billingKey)
	again, err := ParseKeyHash(hash.String())
	require.NoError(t, err)
	assert.Equal(t, hash, again)
	for _, text := range []string{"", "sha256:", billingKey, "sha256:" + billingKey, hash.String()[1:], hash.String() + "00", hash.String() + " "} {
		_, err := ParseKeyHash(text)
		require.Error(t, err, text)
		assert.NotContains(t, err.Error(), billingKey, "the error must not reveal a misplaced key")
	}
}

func TestParseActionAcceptsEveryAction(t *testing.T) {
	for _, action := range Actions() {
		parsed, err := ParseAction(string(action))
		require.NoError(t, err)
		assert.Equal(t, action, parsed)
	}
	_, err := ParseAction("everything")
	assert.ErrorContains(t, err, "everything")
}

func FuzzParseKeyHash(f *testing.F) {
	f.Add(HashKey("x").String())
	f.Add("sha256:zz")
	f.Fuzz(func(t *testing.T, text string) {
		if hash, err := ParseKeyHash(text); err == nil {
			again, err := ParseKeyHash(hash.String())
			assert.NoError(t, err)
			assert.Equal(t, hash, again)
		}
	})
}

// Every credential must authenticate a caller or be rejected with a reason.
func FuzzCredential(f *testing.F) {
	for _, seed := range []string{"Bearer " + billingKey, "Bearer", "", "Bearer  ", "Basic Og==", "bearer\x00x", "Bearer " + supportKey} {
		f.Add(seed)
	}
	authenticator := New(map[string]Caller{"billing": Unrestricted(billingKey)})
	f.Fuzz(func(t *testing.T, given string) {
		p, err := authenticator.Authenticate([]string{given}, nil)
		if err == nil {
			assert.Equal(t, "billing", p.Name)
			assert.Contains(t, given, billingKey)
			return
		}
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, fault.From(err).Reason)
	})
}
