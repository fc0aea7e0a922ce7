package webhook

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const pathPrefix = "/webhooks/"

// Path returns the path of a channel's webhooks.
func Path(channel, secret string) string { return pathPrefix + channel + "/" + secret }

// searched is how many segments of a path are compared with secrets. It is fixed, so that every
// path takes the same work.
const searched = 8

// splitPath returns the segments of a path, and the channel and secret in it. The secret is empty
// if the path is not a webhook path. Empty segments and white space at the end are ignored, because
// people copy URLs into settings.
func splitPath(path string) (segments [searched]string, channel, secret string) {
	n := 0
	for segment := range strings.SplitSeq(trimEnd(path), "/") {
		if segment == "" {
			continue
		}
		if n < searched {
			segments[n] = segment
		}
		n++
	}
	channel = segments[1]
	if n == 3 && segments[0] == strings.Trim(pathPrefix, "/") {
		secret = segments[2]
	}
	return segments, channel, secret
}

// trimEnd removes slashes, white space and invisible characters from the end of an escaped path.
// They are often copied along with a URL.
func trimEnd(path string) string {
	for {
		trimmed := strings.TrimRight(path, "/ \t\r\n")
		for escaped := 3; escaped <= min(3*utf8.UTFMax, len(trimmed)); escaped += 3 {
			n := len(trimmed) - escaped
			if r, err := url.PathUnescape(trimmed[n:]); err == nil && utf8.RuneCountInString(r) == 1 && strings.TrimFunc(r, isSpace) == "" {
				trimmed = trimmed[:n]
				break
			}
		}
		if trimmed == path {
			return path
		}
		path = trimmed
	}
}

func isSpace(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// ownerOf returns the channel whose secret is one of the segments, or nil. It does the same work
// for all paths.
func (a *access) ownerOf(segments [searched]string) (owner *credentials) {
	for _, segment := range segments {
		if c, ok := a.owners[hashOf(segment).sum]; ok {
			owner = c
		}
	}
	return owner
}
