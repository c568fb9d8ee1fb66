package openai

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"atoll/internal/core"
	"atoll/internal/httpapi/atoll"
	"atoll/internal/openaiwire"
	"atoll/internal/request"
)

// Purposes of files. Output is of batches; nobody uploads it.
const (
	purposeBatch  = "batch"
	purposeOutput = "batch_output"
)

// Limits of a file and of the form that it comes in, in bytes, and of how long it
// can be asked to be kept, all as in OpenAI's API.
const (
	maxFile  = 200 << 20
	formRoom = 64 << 10
	maxName  = 255
	maxField = 1 << 10
	minKeep  = time.Hour
	maxKeep  = 30 * 24 * time.Hour
)

// putFile is POST /v1/files.
func (s *server) putFile(x *atoll.Exchange) error {
	kind, params, err := mime.ParseMediaType(x.R.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return core.Errorf(core.Invalid, "want multipart/form-data with the fields purpose and file").WithHint(`curl -F purpose=batch -F file=@requests.jsonl`)
	}
	var f request.File
	err = x.Upload(maxFile+formRoom, func(r io.Reader) (err error) {
		f, err = s.readForm(x, &fileForm{parts: multipart.NewReader(r, params["boundary"]), fields: map[string]string{}})
		return err
	})
	if err != nil {
		return err
	}
	return reply(x, viewFile(&f))
}

// fileForm is a form whose fields come before and after its file.
type fileForm struct {
	parts  *multipart.Reader
	fields map[string]string
}

func (s *server) readForm(x *atoll.Exchange, form *fileForm) (f request.File, err error) {
	file, err := form.next()
	if err != nil {
		return f, err
	}
	if file == nil {
		return f, invalid("file", "the form has no file")
	}
	name := file.FileName()
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return f, invalid("file", "want a file name of 1 to %d bytes in UTF-8", maxName)
	}
	return s.hub.PutFile(x.R.Context(), x.Viewer(), file, maxFile, func() (request.NewFile, error) {
		switch second, err := form.next(); {
		case err != nil:
			return request.NewFile{}, err
		case second != nil:
			return request.NewFile{}, invalid("file", "the form has two files")
		}
		return form.about(name)
	})
}

// next reads fields up to the file, which it returns, or to the form's end.
func (f *fileForm) next() (*multipart.Part, error) {
	for {
		p, err := f.parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, formError(err)
		}
		name := p.FormName()
		if name == "file" {
			return p, nil
		}
		value, err := io.ReadAll(io.LimitReader(p, maxField+1))
		switch {
		case err != nil:
			return nil, formError(err)
		case len(value) > maxField:
			return nil, invalid(core.Clip(name, 100), "over %d bytes", maxField)
		}
		switch name {
		case "purpose", "expires_after[anchor]", "expires_after[seconds]":
			f.fields[name] = string(value)
		default:
			return nil, invalid(core.Clip(name, 100), "there is no such field")
		}
	}
}

// formError keeps what is known better of an upload that broke off.
func formError(err error) error {
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	return core.Errorf(core.Invalid, "the form cannot be read: %w", err)
}

// about is what the form says of its file.
func (f *fileForm) about(name string) (request.NewFile, error) {
	n := request.NewFile{Name: name, Purpose: f.fields["purpose"]}
	if n.Purpose != purposeBatch {
		return n, invalid("purpose", "want batch: files are what batches are made of here, not %.40q", n.Purpose)
	}
	anchor, anchored := f.fields["expires_after[anchor]"]
	seconds, timed := f.fields["expires_after[seconds]"]
	if !anchored && !timed {
		return n, nil
	}
	if anchor != "created_at" {
		return n, invalid("expires_after[anchor]", "want created_at")
	}
	whole, err := strconv.ParseInt(seconds, 10, 32)
	if n.Keep = time.Duration(whole) * time.Second; err != nil || n.Keep < minKeep || n.Keep > maxKeep {
		return n, invalid("expires_after[seconds]", "want %d to %d", int(minKeep.Seconds()), int(maxKeep.Seconds()))
	}
	return n, nil
}

func viewFile(f *request.File) *openaiwire.File {
	out := &openaiwire.File{
		ID: f.ID.String(), Object: openaiwire.ObjectFile, Bytes: f.Size, CreatedAt: f.CreatedMs / 1000, Filename: f.Name, Purpose: f.Purpose, Status: "processed",
	}
	if f.ExpiresMs != 0 {
		out.ExpiresAt = new(f.ExpiresMs / 1000)
	}
	return out
}

// fileID reads the path's ID.
func fileID(x *atoll.Exchange) (core.FileID, error) {
	id, err := core.ParseFileID(x.R.PathValue("id"))
	if err != nil {
		return 0, core.Errorf(core.NotFound, "no file %.40q", x.R.PathValue("id"))
	}
	return id, nil
}

// getFile is GET /v1/files/{id}.
func (s *server) getFile(x *atoll.Exchange) error {
	id, err := fileID(x)
	if err != nil {
		return err
	}
	f, err := s.hub.File(x.R.Context(), x.Viewer(), id)
	if err != nil {
		return err
	}
	return reply(x, viewFile(&f))
}

// deleteFile is DELETE /v1/files/{id}.
func (s *server) deleteFile(x *atoll.Exchange) error {
	id, err := fileID(x)
	if err == nil {
		err = s.hub.DeleteFile(x.R.Context(), x.Viewer(), id)
	}
	if err != nil {
		return err
	}
	return reply(x, &openaiwire.Deleted{ID: id.String(), Object: openaiwire.ObjectFile, Deleted: true})
}

// fileContent is GET /v1/files/{id}/content.
func (s *server) fileContent(x *atoll.Exchange) error {
	id, err := fileID(x)
	if err != nil {
		return err
	}
	f, err := s.hub.File(x.R.Context(), x.Viewer(), id)
	if err != nil {
		return err
	}
	return x.Stream("application/octet-stream", func(st *atoll.Stream) error {
		if f.Batch != 0 {
			return s.writeBatchFile(x, &f, st)
		}
		r, err := s.hub.OpenFile(&f)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(st, r)
		return err
	})
}

// listFiles is GET /v1/files.
func (s *server) listFiles(x *atoll.Exchange) error {
	var q request.FileQuery
	err := readQuery(x.R.URL, map[string]func(string) error{
		"limit": func(v string) (err error) { q.Limit, err = readLimit(v, 10_000); return err },
		"after": func(v string) (err error) {
			if q.After, err = core.ParseFileID(v); err != nil {
				return invalid("after", "want the ID of a file")
			}
			return nil
		},
		"order": func(v string) error {
			if q.OldestFirst = v == "asc"; v != "asc" && v != "desc" {
				return invalid("order", "want asc or desc")
			}
			return nil
		},
		"purpose": func(v string) error {
			if q.Purpose = v; v != purposeBatch && v != purposeOutput {
				return invalid("purpose", "want %s or %s", purposeBatch, purposeOutput)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	limit := q.Limit
	if limit == 0 {
		limit = 10_000
	}
	q.Limit = limit + 1 // shows whether there are more
	rows, err := s.hub.Files(x.R.Context(), x.Viewer(), q)
	if err != nil {
		return err
	}
	return reply(x, pageOf(rows, limit, viewFile, func(f *openaiwire.File) string { return f.ID }))
}

// readQuery reads query parameters, each of which is known.
func readQuery(u *url.URL, known map[string]func(string) error) error {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return invalid("", "the query cannot be read")
	}
	for name, list := range values {
		read, ok := known[name]
		if !ok {
			return invalid(core.Clip(name, 100), "there is no such query parameter")
		}
		if err := read(list[0]); err != nil {
			return err
		}
	}
	return nil
}

func readLimit(v string, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, invalid("limit", "want 1 to %d", most)
	}
	return n, nil
}

// pageOf is a page of the first limit rows.
func pageOf[R, T any](rows []R, limit int, view func(R) T, id func(T) string) *openaiwire.Page[T] {
	out := &openaiwire.Page[T]{Object: openaiwire.ObjectList, Data: []T{}, HasMore: len(rows) > limit}
	for _, r := range rows[:min(limit, len(rows))] {
		out.Data = append(out.Data, view(r))
	}
	if n := len(out.Data); n > 0 {
		first, last := id(out.Data[0]), id(out.Data[n-1])
		out.FirstID, out.LastID = &first, &last
	}
	return out
}
