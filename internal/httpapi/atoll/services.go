package atoll

import (
	"context"
	"net/http"

	"atoll/api"
	"atoll/internal/auth"
)

// ServicePath is the input of a service's routes.
type ServicePath struct {
	Name string `path:"name" maxLength:"63" doc:"the model's name in the OpenAI API"`
}

func (s *server) addServices() {
	const tag, path = "services", "/v1/services/{name}"
	addBody(s, route{method: "PUT", path: path, id: "put-service", tag: tag, scope: auth.Requester,
		summary: "Serve a model under a name", about: "The OpenAI API takes the name as a model. Requests that do not say how they are to be done get the terms given here. A service that is there already is changed."},
		func(ctx context.Context, in *ServicePath, spec *api.ServiceSpec) (*reply[api.Service], error) {
			return replyOf(s.hub.PutService(ctx, viewer(ctx), in.Name, *spec))
		})
	add(s, route{method: "GET", path: "/v1/services", id: "list-services", tag: tag, scope: auth.Read, summary: "List all services"},
		func(ctx context.Context, in *Paging) (*list[api.Service], error) {
			rows, err := s.hub.Services(ctx)
			if err != nil {
				return nil, err
			}
			return pageOf(rows, *in, func(v *api.Service) string { return v.Name })
		})
	add(s, route{method: "GET", path: path, id: "get-service", tag: tag, scope: auth.Read, summary: "Get a service"},
		func(ctx context.Context, in *ServicePath) (*reply[api.Service], error) {
			return replyOf(s.hub.Service(ctx, in.Name))
		})
	add(s, route{method: "DELETE", path: path, id: "delete-service", tag: tag, scope: auth.Requester, status: http.StatusNoContent, summary: "End a service", about: "Its model stays, and can be asked for by its own name."},
		func(ctx context.Context, in *ServicePath) (*struct{}, error) {
			return nil, s.hub.DeleteService(ctx, viewer(ctx), in.Name)
		})
}
