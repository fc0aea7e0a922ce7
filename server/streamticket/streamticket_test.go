package streamticket

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func newTickets(t *testing.T, fill byte) *Tickets {
	t.Helper()
	tickets, err := New(bytes.Repeat([]byte{fill}, keySize))
	require.NoError(t, err)
	return tickets
}

func sample() Ticket {
	return Ticket{Credential: []byte("kcredential"), Filters: &ongairv1.SubscribeRequest{
		Channels: []string{"support"}, ExternalContactIds: []string{"+254722200200"},
	}}
}

func requireInvalid(t *testing.T, err error, message string) {
	t.Helper()
	s := status.Convert(err)
	require.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, fault.ReasonOf(s))
	assert.Equal(t, message, s.Message())
}

func TestATicketIsReadForOneMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tickets := newTickets(t, 1)
		for _, want := range []Ticket{sample(), {Filters: &ongairv1.SubscribeRequest{}}} {
			text, expiry, err := tickets.Issue(want)
			require.NoError(t, err)
			assert.Equal(t, time.Now().Add(time.Minute), expiry)
			time.Sleep(time.Minute - time.Millisecond)
			got, err := tickets.Read(text)
			require.NoError(t, err)
			assert.Equal(t, string(want.Credential), string(got.Credential))
			assert.Empty(t, cmp.Diff(want.Filters, got.Filters, protocmp.Transform()))
			time.Sleep(time.Millisecond)
			_, err = tickets.Read(text)
			requireInvalid(t, err, "expired stream ticket: create another one")
		}
	})
}

func TestATicketIsOpaqueAndSafeInAURL(t *testing.T) {
	text, _, err := newTickets(t, 1).Issue(sample())
	require.NoError(t, err)
	assert.Regexp(t, `^[A-Za-z0-9_-]+$`, text)
	assert.NotContains(t, text, "254722200200")
}

func TestAChangedOrForeignTicketIsRejected(t *testing.T) {
	const message = "invalid stream ticket: create another one"
	tickets := newTickets(t, 1)
	text, _, err := tickets.Issue(sample())
	require.NoError(t, err)
	_, err = newTickets(t, 2).Read(text)
	requireInvalid(t, err, message)
	for i := range text {
		changed := []byte(text)
		changed[i] = map[bool]byte{true: 'B', false: 'A'}[changed[i] == 'A']
		_, err := tickets.Read(string(changed))
		requireInvalid(t, err, message)
		_, err = tickets.Read(text[:i])
		requireInvalid(t, err, message)
	}
	for _, other := range []string{"", "x", "é", text + "A", strings.Repeat("A", 1<<20)} {
		_, err := tickets.Read(other)
		requireInvalid(t, err, message)
	}
	for _, content := range [][]byte{nil, {2}, make([]byte, fixedBytes), append([]byte{version}, bytes.Repeat([]byte{0xff}, 20)...)} {
		_, err := tickets.Read(encode(tickets, content))
		require.Error(t, err)
	}
}

func encode(tickets *Tickets, content []byte) string {
	return encoding.EncodeToString(tickets.aead.Seal(nil, nil, content, nil))
}

func TestTheSizeOfATicketIsBounded(t *testing.T) {
	tickets := newTickets(t, 1)
	fits := sample()
	fits.Filters.ExternalContactIds = slicesOf(400, "+254722200200")
	text, _, err := tickets.Issue(fits)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(text), MaxBytes)
	large := sample()
	large.Filters.ExternalContactIds = slicesOf(500, "+254722200200")
	_, _, err = tickets.Issue(large)
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, fault.ReasonOf(status.Convert(err)))
}

func slicesOf(n int, s string) (all []string) {
	for range n {
		all = append(all, s)
	}
	return all
}

// fakeRecords has one record. The first conflicts Puts fail because another replica creates the key.
type fakeRecords struct {
	record    storage.Record
	putErr    error
	conflicts int
	puts      []uint64 // the revisions that Puts expected
}

func (f *fakeRecords) Get(context.Context, string) (storage.Record, error) { return f.record, nil }

func (f *fakeRecords) Put(_ context.Context, _ string, data []byte, last uint64) (uint64, error) {
	f.puts = append(f.puts, last)
	switch {
	case f.putErr != nil:
		return 0, f.putErr
	case len(f.puts) < f.conflicts:
		return 0, storage.ErrConflict
	case len(f.puts) == f.conflicts:
		f.record = storage.Record{Exists: true, Data: bytes.Repeat([]byte{9}, keySize), Revision: last + 1}
		return 0, storage.ErrConflict
	case last != f.record.Revision:
		return 0, storage.ErrConflict
	}
	f.record = storage.Record{Exists: true, Data: data, Revision: last + 1}
	return last + 1, nil
}

func TestAnExistingKeyIsReadFromAFullDisk(t *testing.T) {
	want := bytes.Repeat([]byte{7}, keySize)
	stored := &fakeRecords{record: storage.Record{Exists: true, Data: want, Revision: 1}, putErr: errors.New("no space left on device")}
	key, err := readKey(t.Context(), stored)
	require.NoError(t, err)
	assert.Equal(t, want, key)
	assert.Empty(t, stored.puts)
}

func TestAKeyIsCreatedAgainAfterItWasDeleted(t *testing.T) {
	stored := &fakeRecords{record: storage.Record{Revision: 7}}
	key, err := readKey(t.Context(), stored)
	require.NoError(t, err)
	assert.Len(t, key, keySize)
	assert.Equal(t, stored.record.Data, key)
	assert.Equal(t, []uint64{7}, stored.puts)
}

func TestAKeyThatAnotherReplicaCreatesIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stored := &fakeRecords{conflicts: 5}
		key, err := readKey(t.Context(), stored)
		require.NoError(t, err)
		assert.Equal(t, stored.record.Data, key)
		assert.Len(t, stored.puts, 5)

		began := time.Now()
		_, err = readKey(t.Context(), &fakeRecords{conflicts: 1 << 20})
		require.ErrorIs(t, err, storage.ErrConflict)
		assert.Less(t, time.Since(began), 15*time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = readKey(ctx, &fakeRecords{conflicts: 1 << 20})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestAKeyOfAnotherSizeIsReported(t *testing.T) {
	_, err := readKey(t.Context(), &fakeRecords{record: storage.Record{Exists: true, Data: []byte("short"), Revision: 1}})
	require.EqualError(t, err, `it has 5 bytes, not 32: delete the key "key" of the bucket ONGAIR_TICKETS`)
}

// Also after a restart, and if replicas start at the same time.
func TestAllReplicasReadEachOthersTickets(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) {
		in := home.Open(t)
		opened := make(chan *Tickets, 8)
		for range cap(opened) {
			go func() {
				tickets, err := Open(t.Context(), in)
				assert.NoError(t, err)
				opened <- tickets
			}()
		}
		issuer := <-opened
		text, _, err := issuer.Issue(sample())
		require.NoError(t, err)
		for range cap(opened) - 1 {
			_, err := (<-opened).Read(text)
			require.NoError(t, err)
		}
	})
}
