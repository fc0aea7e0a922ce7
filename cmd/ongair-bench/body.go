package main

import (
	"bytes"
	"crypto/rand"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// stampMark precedes the time in an event's text. A form escapes neither its characters nor
	// digits.
	stampMark = "stamp."
	// stampDigits is the length of a time in nanoseconds, until the year 2286.
	stampDigits = 19

	bodyHead = "notification_type=MessageReceived&account_type=WhatsApp&external_contact_id=%2B254722200200" +
		"&name=Asha&conversation_id=2287&text=" + stampMark
	fillerText = ".Habari+yako+rafiki+yangu+leo+asubuhi+na+mapema+kabla+ya+saa+tatu+kamili"
)

// bodies creates webhooks of 250 bytes. Each has a unique id, so none is a duplicate. It is
// safe for concurrent use.
type bodies struct {
	prefix string
	next   atomic.Uint64
}

func newBodies() *bodies { return &bodies{prefix: rand.Text()[:12]} }

// appendBody appends a webhook with the time at which it was sent.
func (b *bodies) appendBody(dst []byte, sent time.Time) []byte {
	dst = append(dst, bodyHead...)
	dst = strconv.AppendInt(dst, sent.UnixNano(), 10)
	dst = append(dst, fillerText+"&id="...)
	dst = append(dst, b.prefix...)
	number := b.next.Add(1)
	for width := uint64(1e8); width > 1 && number < width; width /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, number, 10)
}

// eachStamp calls f with the time of every event in an encoded response.
func eachStamp(encoded []byte, f func(sent int64)) {
	mark := []byte(stampMark)
	for {
		i := bytes.Index(encoded, mark)
		if i < 0 || len(encoded) < i+len(mark)+stampDigits {
			return
		}
		encoded = encoded[i+len(mark):]
		if sent, err := strconv.ParseInt(string(encoded[:stampDigits]), 10, 64); err == nil {
			f(sent)
		}
	}
}
