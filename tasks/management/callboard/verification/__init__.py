"""What ``callboard verify`` does: a caller of the API, a trial, the checks, and the crash drill."""
