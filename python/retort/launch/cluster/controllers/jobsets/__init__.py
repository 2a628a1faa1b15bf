"""JobSet (0.12), and TrainJob of Kubeflow's trainer (2.3), which makes one."""
