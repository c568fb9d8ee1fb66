package receipt

import "errors"

// Why a statement is not built, or a receipt refused. Check reports one of these
// for each check that fails, in this order.
var (
	ErrBundle     = errors.New("not a receipt bundle")
	ErrKey        = errors.New("wrong or unusable public key")
	ErrSignature  = errors.New("signature does not match the statement")
	ErrPayload    = errors.New("malformed statement")
	ErrType       = errors.New("statement of another type")
	ErrLease      = errors.New("receipt is for another lease")
	ErrTask       = errors.New("receipt is for another task")
	ErrNonce      = errors.New("nonce does not match")
	ErrSubject    = errors.New("result digest ≠ subject")
	ErrDraw       = errors.New("the draw did not fall as the verdict says")
	ErrEntry      = errors.New("log entry does not match the envelope")
	ErrInclusion  = errors.New("inclusion proof does not hold")
	ErrLog        = errors.New("log is not trusted")
	ErrCheckpoint = errors.New("checkpoint is not signed by the log")
	ErrOrigin     = errors.New("checkpoint is of another log")
	ErrRoot       = errors.New("proof leads to another tree than the checkpoint")
	ErrShrunk     = errors.New("log is smaller than it was seen before")
	ErrFork       = errors.New("log contradicts what was seen before")
	ErrWitness    = errors.New("checkpoint is not cosigned by the witness")
)
