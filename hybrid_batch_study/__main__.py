"""`python -m hybrid_batch_study COMMAND`."""

from hybrid_batch_study import main

if __name__ == "__main__":
    main()
