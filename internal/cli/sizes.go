package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"atoll/internal/diskspace"
)

// size reads a number of bytes, such as 4Gi.
func size(flag, s string, least int64) (int64, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Value() < least {
		return 0, usagef("%s %q: want a size such as 4Gi", flag, s)
	}
	return q.Value(), nil
}

func reserveFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "reserve", resource.NewQuantity(diskspace.Reserve, resource.BinarySI).String(), "`BYTES` of the disk that stay free, so that what is under way can end; 0 for none")
}
