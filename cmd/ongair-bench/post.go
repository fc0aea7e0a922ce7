package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// postTimeout bounds a post and its answer. Working servers take much less.
const postTimeout = 30 * time.Second

// poster posts over one kept connection. It writes requests and reads answers itself, at a fraction
// of the cost of net/http's client, so that the load takes little of the machine. It is not safe
// for concurrent use.
type poster struct {
	conn    net.Conn
	answers *bufio.Reader
	head    string
	request []byte
}

// Media types of posts.
const (
	typeForm = "application/x-www-form-urlencoded"
	typeJSON = "application/json"
)

func dialPoster(ctx context.Context, target, mediaType string) (*poster, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	return &poster{
		conn:    conn,
		answers: bufio.NewReader(conn),
		head: "POST " + u.Path + " HTTP/1.1\r\nHost: " + u.Host +
			"\r\nContent-Type: " + mediaType + "\r\nContent-Length: ",
	}, nil
}

// dialPosters returns n posters of bodies of a media type. The caller MUST close them with closePosters.
func dialPosters(ctx context.Context, target, mediaType string, n int) ([]*poster, error) {
	var posters []*poster
	for range n {
		p, err := dialPoster(ctx, target, mediaType)
		if err != nil {
			closePosters(posters)
			return nil, err
		}
		posters = append(posters, p)
	}
	return posters, nil
}

func closePosters(posters []*poster) {
	for _, p := range posters {
		_ = p.conn.Close() // no post is in flight
	}
}

// post posts a body and waits for a 200.
func (p *poster) post(body []byte) error {
	p.request = append(p.request[:0], p.head...)
	p.request = strconv.AppendInt(p.request, int64(len(body)), 10)
	p.request = append(p.request, "\r\n\r\n"...)
	p.request = append(p.request, body...)
	if err := p.conn.SetDeadline(time.Now().Add(postTimeout)); err != nil {
		return err
	}
	if _, err := p.conn.Write(p.request); err != nil {
		return err
	}
	status, err := p.answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("unexpected answer to a post: %s", strings.TrimSpace(string(status)))
	}
	length := 0
	for {
		line, err := p.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		} else if bytes.HasPrefix(line, []byte("Transfer-Encoding:")) {
			return errors.New("unexpected chunked answer to a post")
		}
	}
	_, err = p.answers.Discard(length)
	return err
}
