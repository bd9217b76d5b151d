"""Many jobs side by side: in processes of this machine, on a Ray cluster, or as an array of Slurm."""
