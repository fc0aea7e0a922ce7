package servertest

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Transport is a way to subscribe. All have the same contract.
type Transport interface {
	fmt.Stringer
	// Subscribe subscribes and calls handle with each response, until ctx ends, the gateway
	// ends the stream or handle fails. It returns the reason, as a status error if the gateway
	// sent it.
	Subscribe(ctx context.Context, addrs Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error
}

// Endpoints has the addresses of a gateway as HOST:PORT, and the key and TLS configuration of its
// caller, if any.
type Endpoints struct {
	GRPC, HTTP, APIKey string
	TLS                *tls.Config
}

// Transports returns the transports for streams.
func Transports() []Transport { return []Transport{OverGRPC{}, OverNDJSON{}, OverSSE{}} }

// Endpoints returns the addresses for the gateway's callers.
func (g *Gateway) Endpoints() Endpoints {
	return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: g.Config.APIKey}
}

// window is the number of bytes that a stalled subscriber buffers. It is the minimum of gRPC, so
// that such a subscriber soon blocks the gateway. The TCP buffer has the same size, which Linux
// doubles. Its default is megabytes.
const window = 64 << 10

// Dial connects to a gateway. The caller MUST close the connection.
func Dial(e Endpoints, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	Given(e.APIKey)
	security := insecure.NewCredentials()
	if e.TLS != nil {
		security = credentials.NewTLS(e.TLS)
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(security), grpc.WithChainUnaryInterceptor(noteCall),
	}, more...)
	if e.APIKey != "" {
		options = append(options, grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoker(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+e.APIKey), method, req, reply, cc, opts...)
		}), grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return streamer(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+e.APIKey), desc, cc, method, opts...)
		}))
	}
	return grpc.NewClient(e.GRPC, options...)
}

// noteCall records the requests to OngairService.
func noteCall(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if m, ok := req.(proto.Message); ok && strings.HasPrefix(method, "/"+ongairv1.OngairService_ServiceDesc.ServiceName+"/") {
		givenMessage(m)
	}
	return invoker(ctx, method, req, reply, conn, options...)
}

// OverGRPC subscribes with the generated client on a new connection.
type OverGRPC struct{}

func (OverGRPC) String() string { return "gRPC" }

// Subscribe implements Transport.
func (OverGRPC) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	conn, err := Dial(e, grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the subscription is over
	return OverConnection{conn}.Subscribe(ctx, e, req, handle)
}

// OverConnection subscribes on a shared connection.
type OverConnection struct{ *grpc.ClientConn }

func (OverConnection) String() string { return "gRPC" }

// Subscribe implements Transport.
func (c OverConnection) Subscribe(ctx context.Context, _ Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	stream, err := ongairv1.NewOngairServiceClient(c.ClientConn).Subscribe(ctx, req)
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := handle(response); err != nil {
			return err
		}
	}
}

// OverPages calls ListEvents repeatedly instead of Subscribe.
type OverPages struct{}

func (OverPages) String() string { return "pages" }

// pageSize is small, so that many pages are full.
const pageSize = 7

// Subscribe implements Transport.
func (OverPages) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	conn, err := Dial(e)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // no call is under way
	client := ongairv1.NewOngairServiceClient(conn)
	list := &ongairv1.ListEventsRequest{
		Channels: req.GetChannels(), EventTypes: req.GetEventTypes(), NotificationTypes: req.GetNotificationTypes(),
		ExternalContactIds: req.GetExternalContactIds(), ConversationIds: req.GetConversationIds(), PageSize: pageSize,
	}
	switch start := req.GetStart().(type) {
	case *ongairv1.SubscribeRequest_Cursor:
		list.Start = &ongairv1.ListEventsRequest_Cursor{Cursor: start.Cursor}
	case *ongairv1.SubscribeRequest_StartTime:
		list.Start = &ongairv1.ListEventsRequest_StartTime{StartTime: start.StartTime}
	case *ongairv1.SubscribeRequest_Position:
		list.Start = &ongairv1.ListEventsRequest_Position{Position: start.Position}
	default:
		list.Start = &ongairv1.ListEventsRequest_Position{Position: ongairv1.Position_POSITION_LATEST}
	}
	for {
		page, err := client.ListEvents(ctx, list)
		if err != nil {
			return err
		}
		if err := handle(&ongairv1.SubscribeResponse{Events: page.GetEvents(), Cursor: page.GetCursor(), Pending: page.GetPending()}); err != nil {
			return err
		}
		list.Start = &ongairv1.ListEventsRequest_Cursor{Cursor: page.GetCursor()}
		list.Wait = durationpb.New(15 * time.Second)
		if req.GetHeartbeatInterval() != nil {
			list.Wait = req.GetHeartbeatInterval()
		}
	}
}

// OverNDJSON subscribes over REST.
type OverNDJSON struct{}

func (OverNDJSON) String() string { return "NDJSON" }

// Subscribe implements Transport.
func (OverNDJSON) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	return overREST(ctx, e, req, "application/x-ndjson", func(line []byte) error {
		var parts struct{ Result, Error json.RawMessage }
		if err := json.Unmarshal(line, &parts); err != nil {
			return err
		}
		if parts.Error != nil {
			return statusError(parts.Error)
		}
		message := &ongairv1.SubscribeResponse{}
		if err := protojson.Unmarshal(parts.Result, message); err != nil {
			return err
		}
		return handle(message)
	})
}

// OverSSE subscribes over REST with Server-Sent Events. Each message becomes a response, and one
// without data becomes a heartbeat.
type OverSSE struct{}

func (OverSSE) String() string { return "SSE" }

// Subscribe implements Transport.
func (OverSSE) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	var id, event, data string
	return overREST(ctx, e, req, "text/event-stream", func(line []byte) error {
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		case "":
			response := &ongairv1.SubscribeResponse{Cursor: id}
			if event == "end" {
				return statusError([]byte(data))
			}
			if data != "" {
				response.Events = []*ongairv1.Event{{}}
				if err := protojson.Unmarshal([]byte(data), response.Events[0]); err != nil {
					return err
				}
			}
			event, data = "", ""
			return handle(response)
		}
		return nil
	})
}

// overREST subscribes over REST, and calls handle with each line.
func overREST(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, accept string, handle func(line []byte) error) error {
	scheme := "http://"
	if e.TLS != nil {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+e.HTTP+"/v1/events:subscribe?"+query(req).Encode(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", accept)
	if e.APIKey != "" {
		request.Header.Set("Authorization", "Bearer "+e.APIKey)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialNarrow, TLSClientConfig: e.TLS}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // the subscription is over
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		return statusError(body)
	}
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		if err := handle(line); err != nil {
			return err
		}
	}
}

// Unnamed subscribes without the channels in the request. A caller with only those channels
// gets the same events.
type Unnamed struct{ Transport }

// Subscribe implements Transport.
func (u Unnamed) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	req = proto.CloneOf(req)
	req.Channels = nil
	return u.Transport.Subscribe(ctx, e, req, handle)
}

// dialNarrow dials with a small TCP window.
func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(window)
	}
	return conn, err
}

// statusError returns the error of a google.rpc.Status in JSON.
func statusError(body []byte) error {
	s := &spb.Status{}
	if err := protojson.Unmarshal(body, s); err != nil {
		return fmt.Errorf("not a google.rpc.Status: %w: %s", err, body)
	}
	if s.GetCode() == 0 {
		return errors.New("an error with code OK")
	}
	return status.FromProto(s).Err()
}

// query returns a request as query parameters.
func query(req *ongairv1.SubscribeRequest) url.Values {
	q := url.Values{
		"channels":             req.GetChannels(),
		"notification_types":   req.GetNotificationTypes(),
		"external_contact_ids": req.GetExternalContactIds(),
		"conversation_ids":     req.GetConversationIds(),
	}
	for _, t := range req.GetEventTypes() {
		q.Add("event_types", t.String())
	}
	switch start := req.GetStart().(type) {
	case *ongairv1.SubscribeRequest_Cursor:
		q.Set("cursor", start.Cursor)
	case *ongairv1.SubscribeRequest_StartTime:
		q.Set("start_time", start.StartTime.AsTime().Format(time.RFC3339Nano))
	case *ongairv1.SubscribeRequest_Position:
		q.Set("position", start.Position.String())
	}
	if req.GetHeartbeatInterval() != nil {
		q.Set("heartbeat_interval", fmt.Sprintf("%.9fs", req.GetHeartbeatInterval().AsDuration().Seconds()))
	}
	return q
}
