package openaiwire

// ErrorBody is the body of every answer that is not a success, and of the event
// that ends a stream that failed.
type ErrorBody struct {
	Error Error `json:"error"`
}

// Error says what was wrong. Param and Code are null where there is none.
type Error struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Types of error.
const (
	InvalidRequest = "invalid_request_error" // 400, 404, 409, 413, 422
	Authentication = "authentication_error"  // 401
	Permission     = "permission_error"      // 403
	Quota          = "insufficient_quota"    // 402 and 429
	RateLimit      = "rate_limit_error"      // 429
	ServerError    = "server_error"          // 5xx
)
