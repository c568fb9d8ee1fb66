package measure

import "os"

func totalMemory() int64 { return memTotal(os.DirFS("/")) }
