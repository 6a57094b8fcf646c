"""Where tasks are done: in this process, in processes of their own, on a cluster."""
