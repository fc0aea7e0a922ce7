package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// serveSendCmd is the simplest proxy of a call: a grpc-go handler that makes one HTTP call and
// reads its answer. It has no validation, error details, limits or logs.
type serveSendCmd struct {
	Upstream string `required:""`
}

// Run serves until stdin ends.
func (c *serveSendCmd) Run(ctx context.Context, io stdio) error {
	ctx = untilClosed(ctx, io.in)
	server := grpc.NewServer()
	ongairv1.RegisterOngairServiceServer(server, &bareSender{
		url:       c.Upstream + "/api/v1/base/send",
		transport: &http.Transport{MaxIdleConnsPerHost: sendsInFlight, DisableCompression: true},
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, server.Stop)()
	if err := announce(io.out, addresses{GRPC: listener.Addr().String()}); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

type bareSender struct {
	ongairv1.UnimplementedOngairServiceServer

	url       string
	transport *http.Transport
}

// Send makes the HTTP call that the gateway makes for a Send.
func (s *bareSender) Send(ctx context.Context, req *ongairv1.SendRequest) (*ongairv1.SendResponse, error) {
	body, err := json.Marshal(struct {
		ExternalID        string `json:"external_id"`
		Text              string `json:"text"`
		ExternalContactID string `json:"external_contact_id"`
	}{req.GetExternalId(), req.GetText(), req.GetExternalId()})
	if err != nil {
		return nil, err
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	call.Header.Set("Content-Type", "application/json")
	call.Header.Set("Authorization", "Token token:unused")
	response, err := s.transport.RoundTrip(call)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Sent           string `json:"sent"`
		ID             string `json:"id"`
		ConversationID string `json:"conversation_id"`
	}
	if err := json.Unmarshal(content, &answer); err != nil || answer.Sent != "true" {
		return nil, status.Error(codes.Unknown, fmt.Sprintf("unexpected answer %q", content))
	}
	return &ongairv1.SendResponse{Id: answer.ID, ConversationId: answer.ConversationID}, nil
}
