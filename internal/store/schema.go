package store

// schema is what a new database gets. Keys are 63-bit time-ordered integers or dense counters,
// so that inserts go to the right edge of each tree; indexes are few and
// partial. Documents are JSON: what is never searched by needs no column.
const schema = `
CREATE TABLE meta (k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE tasks (
	id      INTEGER PRIMARY KEY,
	account TEXT NOT NULL,
	state   TEXT NOT NULL,
	open    INTEGER NOT NULL,  -- 1 until ended and settled
	doc     BLOB NOT NULL,     -- lifecycle.Task
	spec    BLOB NOT NULL,     -- api.TaskSpec as submitted
	input   BLOB               -- the joined input, unless it is in the blob store
);
CREATE INDEX tasks_by_account ON tasks (account, id);
CREATE INDEX tasks_open ON tasks (id) WHERE open = 1;

CREATE TABLE parts (task INTEGER, idx INTEGER, doc BLOB NOT NULL, PRIMARY KEY (task, idx)) WITHOUT ROWID;

-- Results by content: equal replicas share a row. data is NULL when the bytes
-- are in the blob store.
CREATE TABLE results (task INTEGER, idx INTEGER, digest BLOB, data BLOB, PRIMARY KEY (task, idx, digest)) WITHOUT ROWID;

-- Which part a reported lease is of.
CREATE TABLE reported (lease INTEGER PRIMARY KEY, task INTEGER NOT NULL, part INTEGER NOT NULL);

-- A row holds the events of one transaction; seq is the ID of the first.
CREATE TABLE events (task INTEGER, seq INTEGER, doc BLOB NOT NULL, PRIMARY KEY (task, seq)) WITHOUT ROWID;

CREATE TABLE idempotency (account TEXT, key TEXT, task INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (account, key)) WITHOUT ROWID;

CREATE TABLE accounts (id TEXT PRIMARY KEY, available INTEGER NOT NULL, held INTEGER NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE transfers (
	id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, debit TEXT NOT NULL, credit TEXT NOT NULL,
	amount INTEGER NOT NULL, task INTEGER NOT NULL, lease INTEGER NOT NULL, memo TEXT NOT NULL
);
CREATE INDEX transfers_by_debit ON transfers (debit, id);
CREATE INDEX transfers_by_credit ON transfers (credit, id) WHERE credit <> debit;

-- The transparency log: idx is dense from 0, body the leaf, envelope the signed statement.
CREATE TABLE leaves (idx INTEGER PRIMARY KEY, body BLOB NOT NULL, envelope BLOB NOT NULL);
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL, at INTEGER NOT NULL);

CREATE TABLE nodes (id TEXT PRIMARY KEY, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE UNIQUE INDEX keys_by_hash ON keys (hash);
CREATE TABLE tokens (hash BLOB PRIMARY KEY, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE models (name TEXT, version INTEGER, doc BLOB NOT NULL, PRIMARY KEY (name, version)) WITHOUT ROWID;

CREATE TABLE callbacks (id INTEGER PRIMARY KEY, task INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL, state TEXT NOT NULL, doc BLOB NOT NULL);
CREATE INDEX callbacks_due ON callbacks (due) WHERE state = 'due';
`

// migrations bring the database of an older program up to date: the first makes
// version 2 of version 1, and so on. A new database has had them all.
var migrations = []string{
	uploads,
	callbackAccounts,
	keeping,
	services,
	files,
	federations,
}

// uploads are the bytes that an account has brought itself, and may therefore
// use: knowing their digest, which receipts tell, is not enough.
const uploads = `
CREATE TABLE uploads (account TEXT, digest BLOB, size INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (account, digest)) WITHOUT ROWID;
`

// callbackAccounts says whose a callback is, so that what is due can be read
// fairly.
const callbackAccounts = `
ALTER TABLE callbacks ADD COLUMN account TEXT NOT NULL DEFAULT '';
UPDATE callbacks SET account = COALESCE((SELECT account FROM tasks WHERE tasks.id = callbacks.task), '');
DROP INDEX callbacks_due;
CREATE INDEX callbacks_due ON callbacks (account, due) WHERE state = 'due';
`

// keeping says who keeps which content of the blob store, for how long, and at
// whose charge. Content that no row of uploads, task_blobs, files or models names goes.
const keeping = `
CREATE TABLE task_blobs (task INTEGER, digest BLOB, PRIMARY KEY (task, digest)) WITHOUT ROWID;
CREATE INDEX task_blobs_by_digest ON task_blobs (digest);
CREATE INDEX uploads_by_digest ON uploads (digest);
CREATE INDEX uploads_by_age ON uploads (at);
INSERT INTO task_blobs SELECT id, unhex(substr(json_extract(CAST(doc AS TEXT), '$.input_blob'), 8)) FROM tasks WHERE json_extract(CAST(doc AS TEXT), '$.input_blob') IS NOT NULL;
INSERT OR IGNORE INTO task_blobs SELECT task, digest FROM results WHERE data IS NULL;

-- Bytes that are kept for an account and count against its quota.
CREATE TABLE usage (account TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO usage SELECT account, SUM(size) FROM uploads GROUP BY account;

-- When a task ended, until its input, results and events have been pruned.
ALTER TABLE tasks ADD COLUMN unpruned INTEGER;
UPDATE tasks SET unpruned = json_extract(CAST(doc AS TEXT), '$.ended') WHERE open = 0;
CREATE INDEX tasks_unpruned ON tasks (unpruned) WHERE unpruned IS NOT NULL;
`

// services are names of the OpenAI API.
const services = `
CREATE TABLE services (name TEXT PRIMARY KEY, doc BLOB NOT NULL) WITHOUT ROWID;
`

// files are what the OpenAI API calls so. digest is NULL where the content is
// derived from a batch's results. A batch is a task of many requests.
const files = `
CREATE TABLE files (id INTEGER PRIMARY KEY, account TEXT NOT NULL, digest BLOB, expires INTEGER, doc BLOB NOT NULL);
CREATE INDEX files_by_account ON files (account, id);
CREATE INDEX files_by_digest ON files (digest) WHERE digest IS NOT NULL;
CREATE INDEX files_by_expiry ON files (expires) WHERE expires IS NOT NULL;
CREATE TABLE batches (task INTEGER PRIMARY KEY, account TEXT NOT NULL, doc BLOB NOT NULL);
CREATE INDEX batches_by_account ON batches (account, task);
`

// federations are runs of federated learning. federation_log has what has happened in the
// round under way, from which its state follows; federation_rounds what has come of each.
const federations = `
CREATE TABLE federations (id INTEGER PRIMARY KEY, account TEXT NOT NULL, open INTEGER NOT NULL, doc BLOB NOT NULL);
CREATE INDEX federations_by_account ON federations (account, id);
CREATE INDEX federations_open ON federations (id) WHERE open = 1;
CREATE TABLE federation_log (federation INTEGER, seq INTEGER, doc BLOB NOT NULL, PRIMARY KEY (federation, seq)) WITHOUT ROWID;
CREATE TABLE federation_rounds (federation INTEGER, number INTEGER, doc BLOB NOT NULL, PRIMARY KEY (federation, number)) WITHOUT ROWID;
CREATE TABLE federation_blobs (federation INTEGER, digest BLOB, PRIMARY KEY (federation, digest)) WITHOUT ROWID;
CREATE INDEX federation_blobs_by_digest ON federation_blobs (digest);
`

// statements of the writer, prepared once.
const (
	sqlBegin           = `BEGIN IMMEDIATE`
	sqlCommit          = `COMMIT`
	sqlInsertTask      = `INSERT INTO tasks (id, account, state, open, doc, spec, input) VALUES (?,?,?,?,?,?,?)`
	sqlUpdateTask      = `UPDATE tasks SET state=?, open=?, unpruned=?, doc=? WHERE id=?`
	sqlPutPart         = `INSERT INTO parts (task, idx, doc) VALUES (?,?,?) ON CONFLICT DO UPDATE SET doc=excluded.doc`
	sqlPutResult       = `INSERT INTO results (task, idx, digest, data) VALUES (?,?,?,?) ON CONFLICT DO NOTHING`
	sqlPutReported     = `INSERT INTO reported (lease, task, part) VALUES (?,?,?)`
	sqlPutEvents       = `INSERT INTO events (task, seq, doc) VALUES (?,?,?)`
	sqlPutIdempotency  = `INSERT INTO idempotency (account, key, task, body) VALUES (?,?,?,?)`
	sqlFindIdempotency = `SELECT task, body FROM idempotency WHERE account=? AND key=?`
	sqlPutAccount      = `INSERT INTO accounts (id, available, held, created) VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET available=excluded.available, held=excluded.held`
	sqlPutTransfer     = `INSERT INTO transfers (id, at, kind, debit, credit, amount, task, lease, memo) VALUES (?,?,?,?,?,?,?,?,?)`
	sqlPutLeaf         = `INSERT INTO leaves (idx, body, envelope) VALUES (?,?,?)`
	sqlPutCheckpoint   = `INSERT INTO checkpoints (size, epoch, root, note, at) VALUES (?,?,?,?,?)`
	sqlPutNode         = `INSERT INTO nodes (id, doc) VALUES (?,?) ON CONFLICT DO UPDATE SET doc=excluded.doc`
	sqlPutKey          = `INSERT INTO keys (id, hash, doc) VALUES (?,?,?)`
	sqlDeleteKey       = `DELETE FROM keys WHERE id=?`
	sqlPutToken        = `INSERT INTO tokens (hash, doc) VALUES (?,?) ON CONFLICT DO UPDATE SET doc=excluded.doc`
	sqlPutModel        = `INSERT INTO models (name, version, doc) VALUES (?,?,?)`
	sqlPutCallback     = `INSERT INTO callbacks (id, task, account, due, attempts, state, doc) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET due=excluded.due, attempts=excluded.attempts, state=excluded.state`
	sqlPutUpload       = `INSERT INTO uploads (account, digest, size, at) VALUES (?,?,?,?) ON CONFLICT DO NOTHING`
	sqlPutTaskBlob     = `INSERT INTO task_blobs (task, digest) VALUES (?,?) ON CONFLICT DO NOTHING`
	sqlPutUsage        = `INSERT INTO usage (account, bytes) VALUES (?,?) ON CONFLICT DO UPDATE SET bytes=excluded.bytes`
	sqlPutService      = `INSERT INTO services (name, doc) VALUES (?,?) ON CONFLICT DO UPDATE SET doc=excluded.doc`
	sqlDeleteService   = `DELETE FROM services WHERE name=?`
	sqlPutFedEvent     = `INSERT INTO federation_log (federation, seq, doc) VALUES (?,?,?)`
	sqlPutMeta         = `INSERT INTO meta (k, v) VALUES (?,?) ON CONFLICT DO UPDATE SET v=excluded.v`
)
