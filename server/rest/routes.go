package rest

import (
	"fmt"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// route is where an RPC is found over REST.
type route struct {
	method string
	input  protoreflect.MessageType
}

// routes are the RPCs by path, each with one method. None has variables in it. No other
// path or method is served (check).
type routes map[string]route

// routesOf reads the routes from the service's annotations, so that they are the
// ones that grpc-gateway serves.
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
		switch pattern := rule.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			found[pattern.Get] = route{"GET", input}
		case *annotations.HttpRule_Post:
			found[pattern.Post] = route{"POST", input}
		default:
			return nil, fmt.Errorf("%s: google.api.http with %T is not handled", rpc.FullName(), pattern)
		}
	}
	return found, nil
}
