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

	// The ids before the first ones. The first ones look like those in Ongair's documentation.
	beforeFirstMessage      = 35345432
	beforeFirstConversation = 21
)

// The states of a conversation. Ongair also has Pending.
const (
	statusOpen   = "Open"
	statusClosed = "Closed"
)

// The kinds and directions of messages. OUT is from the business.
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
	// ConversationID is the conversation of the next message, if it is still open.
	ConversationID string `json:"conversation_id"`
}

type conversation struct {
	ID                string `json:"id"`
	ExternalContactID string `json:"external_contact_id"`
	Status            string `json:"status"`
	// MessageID is the caller's id for the ticket. It is empty for a conversation that a
	// message opened.
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
	File              *File     `json:"file,omitempty"` // the file that the call uploaded, if any
	Thread            string    `json:"thread,omitempty"`
	Time              time.Time `json:"time"`
}

// image returns the URL for the field image of webhooks, which only images have.
func (m message) image() string {
	if m.Kind == kindImage {
		return m.URL
	}
	return ""
}

// snapshot is the whole state, each list oldest first.
type snapshot struct {
	Contacts      []contact      `json:"contacts"`
	Conversations []conversation `json:"conversations"`
	Messages      []message      `json:"messages"`
}

// state has the contacts, conversations and messages of the account. It is safe for concurrent
// use and returns copies.
type state struct {
	mu               sync.Mutex
	contacts         ordered[contact]
	conversations    ordered[conversation]
	messages         ordered[message]
	tickets          map[string]string // a caller's message_id → the conversation it opened
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

// send adds a message to its contact's open conversation, or to a new one. If closes is true it
// closes the conversation.
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

// receive adds a contact's message to the conversation of the message that it answers.
func (st *state) receive(m message) message {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.add(m)
}

// openTicket opens a conversation for the contact of first, and adds first if it has a text. A
// message_id that was used before changes nothing and returns its conversation, for any
// contact.
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

// topic has the values for a triggered webhook.
type topic struct {
	contact        contact
	conversationID string
	// messageID is the id of the newest message to the contact.
	messageID string
}

// topicOf returns the values for a contact, or for the recipient of the newest message if id is
// empty. Missing values are those that would be used first. The state does not change.
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
	c := contact{ExternalContactID: newest.ExternalContactID, Name: inventedName(newest.ExternalContactID)}
	if known, ok := st.contacts.get(newest.ExternalContactID); ok {
		c = *known
	}
	return topic{c, cmp.Or(c.ConversationID, strconv.Itoa(beforeFirstConversation+1)), newest.ID}
}

// newMessageID returns a new message id.
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

// contact returns a contact, and creates it if necessary. mu MUST be held.
func (st *state) contact(id string) *contact {
	if known, ok := st.contacts.get(id); ok {
		return known
	}
	c := &contact{ExternalContactID: id, Name: inventedName(id)}
	st.contacts.put(id, c)
	return c
}

// open makes the conversation that c's next messages join. The caller holds mu.
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
	if forgotten := st.conversations.put(talk.ID, talk); forgotten != nil {
		delete(st.tickets, forgotten.MessageID)
	}
	return talk
}

// add gives m its id and time and keeps it. The caller holds mu.
func (st *state) add(m message) message {
	m.ID = st.nextMessageID()
	m.Time = time.Now()
	st.messages.put(m.ID, &m)
	return m
}

// inventedName is how a contact is called that nobody named: "Contact 0200" for +254722200200.
func inventedName(id string) string {
	runes := []rune(strings.ToValidUTF8(id, "?"))
	return "Contact " + string(runes[max(0, len(runes)-4):])
}
