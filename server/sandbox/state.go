package sandbox

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxContacts      = 100_000
	maxConversations = 100_000
	maxMessages      = 10_000

	// The ids before the first ones, chosen so that ids look like those in Ongair's documentation.
	beforeFirstMessage      = 35345432
	beforeFirstConversation = 21
)

// The states of a conversation that the sandbox uses. Ongair also has Pending.
const (
	statusOpen   = "Open"
	statusClosed = "Closed"
)

// The kinds of messages, and their directions as seen from the business.
const (
	kindText     = "text"
	kindImage    = "image"
	kindDocument = "document"
	directionOut = "OUT"
	directionIn  = "IN"
)

type contact struct {
	ExternalContactID string `json:"external_contact_id"`
	Name              string `json:"name"`
	// ConversationID is the conversation that the next message joins if it is still open.
	ConversationID string `json:"conversation_id"`
}

type conversation struct {
	ID                string `json:"id"`
	ExternalContactID string `json:"external_contact_id"`
	Status            string `json:"status"`
	// MessageID is the caller's id of the ticket. It is empty if a message opened the conversation.
	MessageID string `json:"message_id,omitempty"`
}

type message struct {
	ID                string    `json:"id"`
	ConversationID    string    `json:"conversation_id"`
	ExternalContactID string    `json:"external_contact_id"`
	Direction         string    `json:"direction"`
	Kind              string    `json:"kind"`
	Text              string    `json:"text"`
	URL               string    `json:"url,omitempty"`
	ContentType       string    `json:"content_type,omitempty"`
	File              *File     `json:"file,omitempty"` // the uploaded file, if any
	Thread            string    `json:"thread,omitempty"`
	Time              time.Time `json:"time"`
}

// image returns the URL for the field image of webhooks. It is empty unless the message is an
// image.
func (m message) image() string {
	if m.Kind == kindImage {
		return m.URL
	}
	return ""
}

// snapshot is a copy of the state. Each list is oldest first.
type snapshot struct {
	Contacts      []contact      `json:"contacts"`
	Conversations []conversation `json:"conversations"`
	Messages      []message      `json:"messages"`
}

// state holds the account's contacts, conversations and messages. It is safe for concurrent use and
// returns only copies.
type state struct {
	mu               sync.Mutex
	contacts         ordered[contact]
	conversations    ordered[conversation]
	messages         ordered[message]
	tickets          map[string]string // the conversation's id by the caller's message_id
	lastMessage      int64
	lastConversation int64
}

func newState() *state {
	return &state{
		contacts:         newOrdered[contact](maxContacts),
		conversations:    newOrdered[conversation](maxConversations),
		messages:         newOrdered[message](maxMessages),
		tickets:          make(map[string]string),
		lastMessage:      beforeFirstMessage,
		lastConversation: beforeFirstConversation,
	}
}

// send adds a message to its contact's open conversation, or to a new one. If closes is true, it
// then closes the conversation.
func (st *state) send(m message, closes bool) (contact, message) {
	st.mu.Lock()
	defer st.mu.Unlock()
	c := st.contact(m.ExternalContactID)
	talk, ok := st.conversations.get(c.ConversationID)
	if !ok || talk.Status == statusClosed {
		talk = st.open(c, "")
	}
	m.ConversationID = talk.ID
	if closes {
		talk.Status = statusClosed
	}
	return *c, st.add(m)
}

// receive adds a message of the contact to the conversation of the message that it answers.
func (st *state) receive(m message) message {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.add(m)
}

// openTicket opens a conversation for first's contact, and adds first if it has a text. If
// messageID was used before, openTicket changes nothing and returns the earlier conversation, even
// for another contact.
func (st *state) openTicket(messageID, name string, first message) (c contact, talk conversation, opened bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if known, ok := st.conversations.get(st.tickets[messageID]); ok {
		return contact{}, *known, false
	}
	owner := st.contact(first.ExternalContactID)
	if name != "" {
		owner.Name = name
	}
	made := st.open(owner, messageID)
	if first.Text != "" {
		first.ConversationID = made.ID
		st.add(first)
	}
	return *owner, *made, true
}

func (st *state) snapshot() snapshot {
	st.mu.Lock()
	defer st.mu.Unlock()
	return snapshot{st.contacts.list(), st.conversations.list(), st.messages.list()}
}

// topic is the subject of a triggered webhook.
type topic struct {
	contact        contact
	conversationID string
	// messageID is the id of the newest message that was sent to the contact.
	messageID string
}

// topicOf returns the topic for a contact. If id is empty, it uses the contact of the newest sent
// message, or else defaultContact. A missing id of a message or conversation is the first that a
// new state would assign. The state does not change.
func (st *state) topicOf(id string) topic {
	st.mu.Lock()
	defer st.mu.Unlock()
	newest := message{ID: strconv.Itoa(beforeFirstMessage + 1), ExternalContactID: cmp.Or(id, defaultContact)}
	for _, key := range slices.Backward(st.messages.ids) {
		m := st.messages.byID[key]
		if m.Direction == directionOut && (id == "" || phoneNumber(id) == phoneNumber(m.ExternalContactID)) {
			newest = *m
			break
		}
	}
	c := contact{ExternalContactID: newest.ExternalContactID, Name: defaultName(newest.ExternalContactID)}
	if known, ok := st.contacts.get(newest.ExternalContactID); ok {
		c = *known
	}
	return topic{c, cmp.Or(c.ConversationID, strconv.Itoa(beforeFirstConversation+1)), newest.ID}
}

// newMessageID returns an unused message id.
func (st *state) newMessageID() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.nextMessageID()
}

// nextMessageID is newMessageID for callers that hold mu.
func (st *state) nextMessageID() string {
	st.lastMessage++
	return strconv.FormatInt(st.lastMessage, 10)
}

// contact returns a contact and creates it if it is missing. The caller holds mu.
func (st *state) contact(id string) *contact {
	if known, ok := st.contacts.get(id); ok {
		return known
	}
	c := &contact{ExternalContactID: id, Name: defaultName(id)}
	st.contacts.put(id, c)
	return c
}

// open creates the conversation that c's next messages join. The caller holds mu.
func (st *state) open(c *contact, messageID string) *conversation {
	st.lastConversation++
	talk := &conversation{
		ID:                strconv.FormatInt(st.lastConversation, 10),
		ExternalContactID: c.ExternalContactID,
		Status:            statusOpen,
		MessageID:         messageID,
	}
	c.ConversationID = talk.ID
	if messageID != "" {
		st.tickets[messageID] = talk.ID
	}
	if evicted := st.conversations.put(talk.ID, talk); evicted != nil {
		delete(st.tickets, evicted.MessageID)
	}
	return talk
}

// add sets the id and time of m and keeps it. The caller holds mu.
func (st *state) add(m message) message {
	m.ID = st.nextMessageID()
	m.Time = time.Now()
	st.messages.put(m.ID, &m)
	return m
}

// defaultName returns the name of a contact that has none: "Contact 0200" for +254722200200.
func defaultName(id string) string {
	runes := []rune(strings.ToValidUTF8(id, "?"))
	return "Contact " + string(runes[max(0, len(runes)-4):])
}
