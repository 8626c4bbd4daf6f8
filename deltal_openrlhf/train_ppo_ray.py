"""`python -m deltal_openrlhf.train_ppo_ray`: openrlhf.cli.train_ppo_ray with ∆L. The same as `deltal train`."""

import sys

from deltal_openrlhf.train import early

if __name__ == "__main__":
    if early.refused(sys.argv[1:]):
        sys.exit(2)
    from deltal_openrlhf.train.launch import main

    main()
