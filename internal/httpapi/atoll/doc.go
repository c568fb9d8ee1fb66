// Package atoll serves Atoll's own HTTP API, /v1: it authenticates, checks and
// limits requests, hands them to a Hub, and turns what comes back into JSON or
// problem documents. It decides nothing about tasks itself.
//
//	request ─> request ID, span, log, recover   server.go
//	        ─> route                            route.go: one table, also the OpenAPI document
//	        ─> key, scope, rate limit           guard.go
//	        ─> parameters, body                 huma; body.go
//	        ─> Hub                              submit, tasks, events, market, admin, nodes, …
//	        <─ JSON, stream or problem          problem.go, stream.go
//
// Handlers are registered with huma, so that /openapi.json (OpenAPI 3.1) is made
// of the very types they take and return. The front door, submit-task, and what
// streams are registered likewise but served by plain handlers: reflection over
// parameters would cost more there than the work itself.
//
// # Answers
//
// Lists are api.List: an opaque cursor in next asks for the following page.
// Errors are RFC 9457 problem documents whose type is urn:atoll:problem:<kind>:
//
//	400 invalid         401 unauthorized   403 forbidden     404 not-found
//	402 insufficient    405 method-not-allowed               408 timeout
//	409 conflict        413 too-large      415 unsupported-media-type
//	422 mismatch        422 not-supported  429 rate-limited
//	500 internal        503 unavailable     507 storage-full  410 gone
//
// What is understood but not built yet is 422 rather than 501: the request has to
// change, and intermediaries and alerts take 5xx for a failure of the hub.
//
// Answers never depend on the Host header: links are paths.
package atoll
