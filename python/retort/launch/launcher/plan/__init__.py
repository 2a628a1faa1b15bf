"""What launching a job would do, told before it is done."""
