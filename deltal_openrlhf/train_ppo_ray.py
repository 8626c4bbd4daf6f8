"""`python -m deltal_openrlhf.train_ppo_ray`: openrlhf.cli.train_ppo_ray with ∆L. The same as `deltal train`."""

from deltal_openrlhf.train.launch import main

if __name__ == "__main__":
    main()
