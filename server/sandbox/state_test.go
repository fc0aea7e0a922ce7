package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sendText(t *testing.T, s *Sandbox, contact, text string) sent {
	t.Helper()
	status, answer := ask(s, "/send", fmt.Sprintf(`{"external_id":%q,"text":%q}`, contact, text))
	require.Equal(t, http.StatusOK, status, answer)
	var decoded sent
	require.NoError(t, json.Unmarshal([]byte(answer), &decoded))
	return decoded
}

func openTicket(t *testing.T, s *Sandbox, contact, messageID string) string {
	t.Helper()
	status, answer := ask(s, "/create_conversation", fmt.Sprintf(`{"external_id":%q,"message_id":%q}`, contact, messageID))
	require.Equal(t, http.StatusOK, status, answer)
	var decoded ticketed
	require.NoError(t, json.Unmarshal([]byte(answer), &decoded))
	return decoded.ID
}

func TestAMessageJoinsTheOpenConversationOfItsContact(t *testing.T) {
	s := New(Config{Token: token})
	assert.Equal(t, sent{"true", "35345433", "22"}, sendText(t, s, "a", "one"))
	assert.Equal(t, sent{"true", "35345434", "22"}, sendText(t, s, "a", "two"))
	assert.Equal(t, sent{"true", "35345435", "23"}, sendText(t, s, "b", "three"))
	assert.Equal(t, "24", openTicket(t, s, "a", "x"))
	assert.Equal(t, sent{"true", "35345436", "24"}, sendText(t, s, "a", "four"))
}

func TestAMessageAfterCloseOpensANewConversation(t *testing.T) {
	for _, text := range []string{"close", "CLOSE", " Close\n"} {
		s := New(Config{Token: token})
		assert.Equal(t, "22", sendText(t, s, "a", "Hello").ConversationID)
		assert.Equal(t, "22", sendText(t, s, "a", text).ConversationID, "the conversation that it closes")
		assert.Equal(t, "23", sendText(t, s, "a", "Hello again").ConversationID)
		conversations := s.state.snapshot().Conversations
		assert.Equal(t, statusClosed, conversations[0].Status)
		assert.Equal(t, statusOpen, conversations[1].Status)
	}
}

func TestOnlyATextThatIsExactlyCloseCloses(t *testing.T) {
	s := New(Config{Token: token})
	sendText(t, s, "a", "close it")
	status, _ := ask(s, "/send_document", "external_id=a&file_url=http://x/y&caption=close")
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, statusOpen, s.state.snapshot().Conversations[0].Status)
}

func TestARepeatedMessageIDReturnsTheSameConversation(t *testing.T) {
	s := New(Config{Token: token, WebhookURL: webhookURL})
	assert.Equal(t, "22", openTicket(t, s, "a", "x"))
	assert.Equal(t, "23", openTicket(t, s, "a", "y"))
	assert.Equal(t, "22", openTicket(t, s, "a", "x"))
	assert.Equal(t, "22", openTicket(t, s, "b", "x"), "a message_id is unique over contacts")
	assert.Len(t, s.queue.items, 2, "a repeated ticket causes no webhook")
	assert.Len(t, s.state.snapshot().Contacts, 1)
}

func TestAContactIsNamedByItsTicketOrItsID(t *testing.T) {
	s := New(Config{Token: token})
	for _, contact := range []string{customer, "ab", "微信用户甲乙"} {
		sendText(t, s, contact, "Hello")
	}
	_, _ = ask(s, "/create_conversation", "external_id=ab&message_id=1&name=Jane+Doe")
	_, _ = ask(s, "/create_conversation", "external_id=ab&message_id=2")
	var names []string
	for _, c := range s.state.snapshot().Contacts {
		names = append(names, c.Name)
	}
	assert.Equal(t, []string{"Contact 0200", "Jane Doe", "Contact 用户甲乙"}, names)
}

func TestTheTextOfATicketIsAMessageInItsDirection(t *testing.T) {
	s := New(Config{Token: token})
	_, _ = ask(s, "/create_conversation", "external_id=a&message_id=1&text=in")
	_, _ = ask(s, "/create_conversation", "external_id=a&message_id=2&text=out&direction=out")
	_, _ = ask(s, "/create_conversation", "external_id=a&message_id=3")
	messages := s.state.snapshot().Messages
	require.Len(t, messages, 2)
	assert.Equal(t, []string{directionIn, "22"}, []string{messages[0].Direction, messages[0].ConversationID})
	assert.Equal(t, []string{directionOut, "23"}, []string{messages[1].Direction, messages[1].ConversationID})
}

func TestConcurrentSendsGetDifferentIDsInOneConversation(t *testing.T) {
	s := New(Config{Token: token})
	const calls = 100
	var all sync.WaitGroup
	for range calls {
		all.Go(func() { _, _ = ask(s, "/send", "external_id=a&text=Hello") })
	}
	all.Wait()
	snapshot := s.state.snapshot()
	ids := make(map[string]bool)
	for _, m := range snapshot.Messages {
		ids[m.ID] = true
	}
	assert.Len(t, ids, calls)
	assert.Len(t, snapshot.Conversations, 1)
	assert.Len(t, s.Requests(), calls)
}

func TestTheOldestEntriesAreEvictedBeyondTheBounds(t *testing.T) {
	st := newState()
	st.contacts.limit, st.conversations.limit, st.messages.limit = 2, 2, 2
	for _, id := range []string{"a", "b", "c"} {
		_, _, opened := st.openTicket("ticket of "+id, "", message{ExternalContactID: id, Text: id})
		assert.True(t, opened)
	}
	snapshot := st.snapshot()
	assert.Equal(t, "b", snapshot.Contacts[0].ExternalContactID)
	assert.Equal(t, "23", snapshot.Conversations[0].ID)
	assert.Equal(t, "b", snapshot.Messages[0].Text)
	assert.Len(t, st.tickets, 2)
	_, talk, opened := st.openTicket("ticket of a", "", message{ExternalContactID: "a"})
	assert.True(t, opened)
	assert.Equal(t, "25", talk.ID)
}
