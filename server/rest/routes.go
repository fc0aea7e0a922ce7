package rest

import (
	"fmt"
	"net/http"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// route is an RPC over REST, by one HTTP method.
type route struct {
	// rpc is the name of the RPC, and input its request.
	rpc   string
	input protoreflect.MessageType
	// sends means that the RPC sends to a contact. streams means that it answers with a stream.
	sends, streams bool
}

// routes has the RPCs by path and HTTP method. No path has variables.
type routes map[string]map[string]route

// routesOf reads the routes from the service's annotations. They are those of grpc-gateway.
func routesOf(service protoreflect.ServiceDescriptor) (routes, error) {
	found := routes{}
	for i := range service.Methods().Len() {
		rpc := service.Methods().Get(i)
		rule, ok := proto.GetExtension(rpc.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok {
			return nil, fmt.Errorf("%s has no google.api.http annotation", rpc.FullName())
		}
		input, err := protoregistry.GlobalTypes.FindMessageByName(rpc.Input().FullName())
		if err != nil {
			return nil, err
		}
		r := route{string(rpc.Name()), input, rpc.Input().Fields().ByName("request_id") != nil, rpc.IsStreamingServer()}
		for _, binding := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			switch pattern := binding.GetPattern().(type) {
			case *annotations.HttpRule_Get:
				found.add(pattern.Get, http.MethodGet, r)
			case *annotations.HttpRule_Post:
				found.add(pattern.Post, http.MethodPost, r)
			default:
				return nil, fmt.Errorf("%s: google.api.http with %T is not handled", rpc.FullName(), pattern)
			}
		}
	}
	return found, nil
}

func (r routes) add(path, method string, found route) {
	if r[path] == nil {
		r[path] = map[string]route{}
	}
	r[path][method] = found
}
