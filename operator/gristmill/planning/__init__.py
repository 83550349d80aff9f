"""Pure: intervals, plan, pace, progress, recovery, the fixed reduction tree; and the values that travel."""
