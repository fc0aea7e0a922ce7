package fault

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

func violations(n int, description string) []Violation {
	all := make([]Violation, n)
	for i := range all {
		all[i] = Violation{Field: fmt.Sprintf("channels[%d]", i), Description: description, Reason: "STRING_PATTERN"}
	}
	return all
}

func listed(t *testing.T, f *Fault) []*errdetails.BadRequest_FieldViolation {
	t.Helper()
	for _, detail := range f.GRPCStatus().Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			return bad.GetFieldViolations()
		}
	}
	return nil
}

func TestAStatusListsTwentyViolationsAndCountsTheOthers(t *testing.T) {
	for n, want := range map[int]string{
		2:    "channels[0]: is not a name (and 1 more)",
		20:   "channels[0]: is not a name (and 19 more)",
		21:   "channels[0]: is not a name (and 20 more, 1 of them not listed)",
		1000: "channels[0]: is not a name (and 999 more, 980 of them not listed)",
	} {
		f := Invalid(violations(n, "is not a name")...)
		assert.Equal(t, want, f.GRPCStatus().Message())
		assert.Equal(t, "INVALID_REQUEST: "+want, f.Error())
		assert.Len(t, listed(t, f), min(n, 20))
	}
}

func TestAStatusHasTrailersOfFourKiBAtMost(t *testing.T) {
	for name, f := range map[string]*Fault{
		"many violations":             Invalid(violations(1000, "is not a name")...),
		"long violations":             Invalid(violations(20, strings.Repeat("long ", 1000))...),
		"one long violation":          Invalid(violations(1, strings.Repeat("long ", 1000))...),
		"a field of another script":   Invalid(Violation{strings.Repeat("ك", 1000), strings.Repeat("%", 1000), "UNKNOWN"}),
		"a long message":              New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "%s", strings.Repeat("x", 1<<20)),
		"a message of another script": New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "%s", strings.Repeat("你", 1<<20)),
		"what is not UTF-8":           New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "%s", strings.Repeat("\xff", 1<<20)),
		"long metadata": {
			Message: "hello", Reason: ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, Effect: EffectNone,
			Metadata: map[string]string{
				"a": strings.Repeat("x", 1<<20), "b": strings.Repeat("你", 1<<20), "c": strings.Repeat("\xff", 1<<20), "d": "short",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := f.GRPCStatus()
			assert.LessOrEqual(t, trailerBytes(s), 4<<10)
			assert.GreaterOrEqual(t, trailerBytes(s), 1<<8, "what fits is kept")
			require.NotNil(t, Info(s))
			assert.Equal(t, f.Reason, ReasonOf(s))
			if f.Effect != "" {
				assert.Equal(t, string(f.Effect), Info(s).GetMetadata()["effect"])
				assert.Equal(t, "short", Info(s).GetMetadata()["d"])
			}
			assert.Equal(t, len(f.Violations) > 0, len(listed(t, f)) > 0)
		})
	}
}

func TestATextIsCutBetweenCharacters(t *testing.T) {
	assert.Equal(t, "short", text("short", 5))
	assert.Equal(t, "lo…", text("longer", 5))
	assert.Equal(t, "é…", text("ééééé", 6))
	assert.Equal(t, "\ufffdé…", text("\xffééééé", 6), "U+FFFD is longer than the byte it stands for")
}
